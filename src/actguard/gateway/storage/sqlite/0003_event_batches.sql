
-- Events as their requests brought them: one row a request, of which `body` has those that were new.
CREATE TABLE event_batches (
    number INTEGER PRIMARY KEY,
    workspace_id INTEGER NOT NULL,
    agent TEXT NOT NULL,
    ingested_at INTEGER NOT NULL,
    n INTEGER NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX event_batches_time ON event_batches (workspace_id, ingested_at);

-- Each event's, so that it is stored once. `batch` is no later than the one that has the event, and later than all that
-- were there before: so an insert that passes over what is known can be asked afterwards what that was.
CREATE TABLE event_ids (
    workspace_id INTEGER NOT NULL,
    id TEXT NOT NULL,
    batch INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, id)
) WITHOUT ROWID;

INSERT INTO event_batches (number, workspace_id, agent, ingested_at, n, body)
SELECT seq, workspace_id, agent, ingested_at, 1, '{"events":[' || body || ']}' FROM events ORDER BY seq;
INSERT INTO event_ids (workspace_id, id, batch) SELECT workspace_id, id, seq FROM events ORDER BY workspace_id, id;
DROP TABLE events;
