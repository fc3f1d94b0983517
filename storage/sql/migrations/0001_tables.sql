-- Tables with {t} in their names exist once for each part of the layout, the others once in each
-- database, where only the home database fills them. Names are compared by bytes: BINARY and
-- VARBINARY. No triggers, no foreign keys and nothing that leans on gap locks, so that TiDB takes
-- them too.

CREATE TABLE IF NOT EXISTS meta (
    name VARBINARY(64) NOT NULL PRIMARY KEY,
    value VARBINARY(255) NOT NULL
);

-- The hottest rows: one for each channel with records.
CREATE TABLE IF NOT EXISTS heads{t} (
    channel BINARY(16) NOT NULL PRIMARY KEY,
    epoch INT UNSIGNED NOT NULL,
    `offset` BIGINT UNSIGNED NOT NULL,
    first BIGINT UNSIGNED NOT NULL,
    last_ts_ms BIGINT UNSIGNED NOT NULL,
    epochs BLOB NOT NULL
);

CREATE TABLE IF NOT EXISTS publications{t} (
    channel BINARY(16) NOT NULL,
    `offset` BIGINT UNSIGNED NOT NULL,
    epoch INT UNSIGNED NOT NULL,
    id BIGINT UNSIGNED NOT NULL,
    sender VARBINARY(64) NOT NULL,
    client_id VARBINARY(64) NULL,
    client_seq BIGINT UNSIGNED NULL,
    client_msg_id VARBINARY(16) NOT NULL,
    server_ts_ms BIGINT UNSIGNED NOT NULL,
    client_ts_ms BIGINT UNSIGNED NOT NULL,
    kind INT NOT NULL,
    target_offset BIGINT UNSIGNED NOT NULL,
    payload MEDIUMBLOB NOT NULL,
    PRIMARY KEY (channel, `offset`)
);

CREATE TABLE IF NOT EXISTS origins{t} (
    channel BINARY(16) NOT NULL,
    client_id VARBINARY(64) NOT NULL,
    client_seq BIGINT UNSIGNED NOT NULL,
    `offset` BIGINT UNSIGNED NOT NULL,
    epoch INT UNSIGNED NOT NULL,
    id BIGINT UNSIGNED NOT NULL,
    server_ts_ms BIGINT UNSIGNED NOT NULL,
    fingerprint BIGINT UNSIGNED NOT NULL,
    stored_at_s BIGINT UNSIGNED NOT NULL,
    PRIMARY KEY (channel, client_id, client_seq),
    KEY by_age (stored_at_s)
);

CREATE TABLE IF NOT EXISTS intent_slots{t} (
    slot SMALLINT UNSIGNED NOT NULL PRIMARY KEY,
    last BIGINT UNSIGNED NOT NULL,
    completed BIGINT UNSIGNED NOT NULL
);

CREATE TABLE IF NOT EXISTS intents{t} (
    slot SMALLINT UNSIGNED NOT NULL,
    number BIGINT UNSIGNED NOT NULL,
    payload MEDIUMBLOB NOT NULL,
    PRIMARY KEY (slot, number)
);

CREATE TABLE IF NOT EXISTS channels{t} (
    channel BINARY(16) NOT NULL PRIMARY KEY,
    name VARBINARY(128) NOT NULL,
    kind INT NOT NULL,
    access INT NOT NULL,
    created_by VARBINARY(64) NOT NULL,
    created_at_ms BIGINT UNSIGNED NOT NULL,
    UNIQUE KEY by_name (name)
);

CREATE TABLE IF NOT EXISTS memberships{t} (
    channel BINARY(16) NOT NULL,
    user VARBINARY(64) NOT NULL,
    role INT NOT NULL,
    since_ms BIGINT UNSIGNED NOT NULL,
    PRIMARY KEY (channel, user)
);

CREATE TABLE IF NOT EXISTS cursors{t} (
    channel BINARY(16) NOT NULL,
    user VARBINARY(64) NOT NULL,
    delivered BIGINT UNSIGNED NOT NULL,
    `read` BIGINT UNSIGNED NOT NULL,
    PRIMARY KEY (channel, user)
);

CREATE TABLE IF NOT EXISTS inbox_heads{t} (
    user VARBINARY(64) NOT NULL PRIMARY KEY,
    pts BIGINT UNSIGNED NOT NULL
);

CREATE TABLE IF NOT EXISTS inboxes{t} (
    user VARBINARY(64) NOT NULL,
    channel BINARY(16) NOT NULL,
    last_pts BIGINT UNSIGNED NOT NULL,
    muted TINYINT NOT NULL,
    pinned TINYINT NOT NULL,
    deleted_before BIGINT UNSIGNED NOT NULL,
    version BIGINT UNSIGNED NOT NULL,
    PRIMARY KEY (user, channel),
    KEY by_pts (user, last_pts)
);

-- One row is seen from both ends, so all of them are in the home database.
CREATE TABLE IF NOT EXISTS relations (
    user VARBINARY(64) NOT NULL,
    kind SMALLINT UNSIGNED NOT NULL,
    target VARBINARY(64) NOT NULL,
    since_ms BIGINT UNSIGNED NOT NULL,
    version BIGINT UNSIGNED NOT NULL,
    -- 0 while the relation holds, else when it was removed.
    removed_at_s BIGINT UNSIGNED NOT NULL,
    PRIMARY KEY (user, kind, target),
    KEY by_target (target, kind, user),
    KEY by_age (removed_at_s)
);

CREATE TABLE IF NOT EXISTS segments (
    shard SMALLINT UNSIGNED NOT NULL,
    first_ts_ms BIGINT UNSIGNED NOT NULL,
    segment BIGINT UNSIGNED NOT NULL,
    state TINYINT UNSIGNED NOT NULL,
    content MEDIUMBLOB NOT NULL,
    PRIMARY KEY (shard, first_ts_ms, segment)
);

CREATE TABLE IF NOT EXISTS id_bounds (
    worker SMALLINT UNSIGNED NOT NULL PRIMARY KEY,
    bound_ms BIGINT UNSIGNED NOT NULL
);

CREATE TABLE IF NOT EXISTS id_leases (
    worker SMALLINT UNSIGNED NOT NULL PRIMARY KEY,
    holder VARBINARY(255) NOT NULL,
    until_ms BIGINT UNSIGNED NOT NULL
);

CREATE TABLE IF NOT EXISTS roster (
    name VARBINARY(255) NOT NULL PRIMARY KEY,
    incarnation BIGINT UNSIGNED NOT NULL,
    content MEDIUMBLOB NOT NULL,
    -- 0 once the node has left.
    heard_ms BIGINT UNSIGNED NOT NULL
);
