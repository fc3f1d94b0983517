// The key of whoever looks: kept for this tab, never in an address.

const PLACE = "sterna.console.key";

export const keptKey = (): string => sessionStorage.getItem(PLACE) ?? "";
export const keep = (key: string): void => sessionStorage.setItem(PLACE, key);
export const forget = (): void => sessionStorage.removeItem(PLACE);
