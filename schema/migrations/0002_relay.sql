-- Relays in processes of their own, and routes that no relay takes any more (PROTOCOL.md 6.1).

-- `addresses` are "host:port" with a blank between them; `public_key` is empty until a relay has enrolled.
CREATE TABLE relay (
  network_id INTEGER NOT NULL REFERENCES network DEFERRABLE INITIALLY DEFERRED,
  id INTEGER NOT NULL CHECK (id > 0),
  name TEXT NOT NULL,
  addresses TEXT NOT NULL,
  token_digest BLOB NOT NULL CHECK (length(token_digest) = 32),
  public_key BLOB NOT NULL,
  hostname TEXT NOT NULL,
  enrolled_at INTEGER NOT NULL,
  PRIMARY KEY (network_id, id),
  UNIQUE (network_id, name)
) STRICT;

CREATE TABLE revoked_route (
  network_id INTEGER NOT NULL REFERENCES network DEFERRABLE INITIALLY DEFERRED,
  route BLOB NOT NULL CHECK (length(route) = 7),
  expires_at INTEGER NOT NULL,
  PRIMARY KEY (network_id, route)
) STRICT, WITHOUT ROWID;
