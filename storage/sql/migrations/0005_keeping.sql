-- What channels keep, and what was ordered of them.
CREATE TABLE IF NOT EXISTS kept{t} (
    channel BINARY(16) NOT NULL PRIMARY KEY,
    content VARBINARY(4096) NOT NULL
);

CREATE TABLE IF NOT EXISTS redactions{t} (
    channel BINARY(16) NOT NULL,
    `offset` BIGINT UNSIGNED NOT NULL,
    content VARBINARY(1024) NOT NULL,
    PRIMARY KEY (channel, `offset`)
);

CREATE TABLE IF NOT EXISTS deeds{t} (
    channel BINARY(16) NOT NULL,
    version BIGINT UNSIGNED NOT NULL,
    content VARBINARY(4096) NOT NULL,
    PRIMARY KEY (channel, version)
);

-- Times that never go back.
CREATE TABLE IF NOT EXISTS clocks (
    name VARBINARY(64) NOT NULL PRIMARY KEY,
    at_ms BIGINT UNSIGNED NOT NULL
);
