-- How far channels are archived, and what the archiver knows of where it lies.
CREATE TABLE IF NOT EXISTS archived{t} (
    channel BINARY(16) NOT NULL PRIMARY KEY,
    upto BIGINT UNSIGNED NOT NULL,
    content VARBINARY(4096) NOT NULL
);
