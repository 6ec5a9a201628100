-- New flows leave an instance that the admin drains; those that run go on.
ALTER TABLE instance ADD COLUMN draining INTEGER NOT NULL DEFAULT 0 CHECK (draining IN (0, 1));
