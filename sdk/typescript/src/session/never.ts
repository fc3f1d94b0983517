// Times are milliseconds of the platform's monotonic clock. This one does not come.

export const NEVER = Number.POSITIVE_INFINITY;
