-- Channels that nobody marks in a user's inbox, so that he looks at their heads.
CREATE TABLE IF NOT EXISTS inbox_pulled{t} (
    user VARBINARY(64) NOT NULL,
    channel BINARY(16) NOT NULL,
    PRIMARY KEY (user, channel)
);
