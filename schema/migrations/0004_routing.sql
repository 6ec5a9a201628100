-- Addresses that are reached without Postern, and which of equally specific resources wins (PROTOCOL.md 4.7).
ALTER TABLE resource ADD COLUMN bypass INTEGER NOT NULL DEFAULT 0 CHECK (bypass IN (0, 1));
ALTER TABLE resource ADD COLUMN priority INTEGER NOT NULL DEFAULT 0 CHECK (priority BETWEEN 0 AND 1000);
