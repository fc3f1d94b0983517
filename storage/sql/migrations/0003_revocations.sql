-- Users whose access tokens issued before a time are void; everybody's without a name.
CREATE TABLE IF NOT EXISTS revocations (
    user VARBINARY(64) NOT NULL,
    before_ms BIGINT UNSIGNED NOT NULL,
    PRIMARY KEY (user),
    KEY by_time (before_ms)
);
