-- The records of libs/controller_core/records.hpp. Every table has the Network first in its key, so that no row can be
-- read or written without naming one. Times are Unix milliseconds, UTC. Foreign keys are checked at COMMIT: a change set
-- may come in any order.

CREATE TABLE network (
  id INTEGER PRIMARY KEY CHECK (id > 0),
  slug TEXT NOT NULL UNIQUE,
  display_name TEXT NOT NULL,
  url TEXT NOT NULL,
  root_certificate_pem TEXT NOT NULL,
  policy_version INTEGER NOT NULL,
  next_id INTEGER NOT NULL,
  created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE user_account (
  network_id INTEGER NOT NULL REFERENCES network DEFERRABLE INITIALLY DEFERRED,
  id INTEGER NOT NULL CHECK (id > 0),
  email TEXT NOT NULL,
  password_hash TEXT NOT NULL,
  role INTEGER NOT NULL CHECK (role IN (1, 2)),
  state INTEGER NOT NULL CHECK (state IN (1, 2)),
  created_at INTEGER NOT NULL,
  PRIMARY KEY (network_id, id),
  UNIQUE (network_id, email)
) STRICT;

CREATE TABLE user_group (
  network_id INTEGER NOT NULL REFERENCES network DEFERRABLE INITIALLY DEFERRED,
  id INTEGER NOT NULL CHECK (id > 0),
  name TEXT NOT NULL,
  everyone INTEGER NOT NULL CHECK (everyone IN (0, 1)),
  PRIMARY KEY (network_id, id),
  UNIQUE (network_id, name)
) STRICT;

CREATE TABLE membership (
  network_id INTEGER NOT NULL,
  group_id INTEGER NOT NULL,
  user_id INTEGER NOT NULL,
  PRIMARY KEY (network_id, group_id, user_id),
  FOREIGN KEY (network_id, group_id) REFERENCES user_group (network_id, id) DEFERRABLE INITIALLY DEFERRED,
  FOREIGN KEY (network_id, user_id) REFERENCES user_account (network_id, id) DEFERRABLE INITIALLY DEFERRED
) STRICT, WITHOUT ROWID;
CREATE INDEX membership_of_user ON membership (network_id, user_id);

CREATE TABLE remote_network (
  network_id INTEGER NOT NULL REFERENCES network DEFERRABLE INITIALLY DEFERRED,
  id INTEGER NOT NULL CHECK (id > 0),
  name TEXT NOT NULL,
  PRIMARY KEY (network_id, id),
  UNIQUE (network_id, name)
) STRICT;

CREATE TABLE connector (
  network_id INTEGER NOT NULL,
  id INTEGER NOT NULL CHECK (id > 0),
  remote_network_id INTEGER NOT NULL,
  name TEXT NOT NULL,
  instances_max INTEGER NOT NULL,
  token_generation INTEGER NOT NULL,
  refresh_token_digest BLOB NOT NULL CHECK (length(refresh_token_digest) = 32),
  PRIMARY KEY (network_id, id),
  UNIQUE (network_id, name),
  FOREIGN KEY (network_id, remote_network_id) REFERENCES remote_network (network_id, id)
    DEFERRABLE INITIALLY DEFERRED
) STRICT;
CREATE INDEX connector_of_remote_network ON connector (network_id, remote_network_id);

CREATE TABLE instance (
  network_id INTEGER NOT NULL,
  id INTEGER NOT NULL CHECK (id > 0),
  connector_id INTEGER NOT NULL,
  token_generation INTEGER NOT NULL,
  public_key BLOB NOT NULL,
  hostname TEXT NOT NULL,
  enrolled_at INTEGER NOT NULL,
  PRIMARY KEY (network_id, id),
  UNIQUE (network_id, public_key),
  FOREIGN KEY (network_id, connector_id) REFERENCES connector (network_id, id) DEFERRABLE INITIALLY DEFERRED
) STRICT;
CREATE INDEX instance_of_connector ON instance (network_id, connector_id);

CREATE TABLE device (
  network_id INTEGER NOT NULL,
  id INTEGER NOT NULL CHECK (id > 0),
  user_id INTEGER NOT NULL,
  name TEXT NOT NULL,
  public_key BLOB NOT NULL,
  enrolled_at INTEGER NOT NULL,
  signed_in_until INTEGER NOT NULL,
  PRIMARY KEY (network_id, id),
  UNIQUE (network_id, public_key),
  FOREIGN KEY (network_id, user_id) REFERENCES user_account (network_id, id) DEFERRABLE INITIALLY DEFERRED
) STRICT;
CREATE INDEX device_of_user ON device (network_id, user_id);

-- `aliases` are DNS names with a blank between them; `tcp` and `udp` are "*", "none" or a list of ports.
CREATE TABLE resource (
  network_id INTEGER NOT NULL,
  id INTEGER NOT NULL CHECK (id > 0),
  remote_network_id INTEGER NOT NULL,
  name TEXT NOT NULL,
  address TEXT NOT NULL,
  aliases TEXT NOT NULL,
  tcp TEXT NOT NULL,
  udp TEXT NOT NULL,
  allow_icmp INTEGER NOT NULL CHECK (allow_icmp IN (0, 1)),
  PRIMARY KEY (network_id, id),
  UNIQUE (network_id, name),
  FOREIGN KEY (network_id, remote_network_id) REFERENCES remote_network (network_id, id)
    DEFERRABLE INITIALLY DEFERRED
) STRICT;
CREATE INDEX resource_of_remote_network ON resource (network_id, remote_network_id);

CREATE TABLE access (
  network_id INTEGER NOT NULL,
  resource_id INTEGER NOT NULL,
  group_id INTEGER,
  user_id INTEGER,
  CHECK ((group_id IS NULL) <> (user_id IS NULL)),
  FOREIGN KEY (network_id, resource_id) REFERENCES resource (network_id, id) DEFERRABLE INITIALLY DEFERRED,
  FOREIGN KEY (network_id, group_id) REFERENCES user_group (network_id, id) DEFERRABLE INITIALLY DEFERRED,
  FOREIGN KEY (network_id, user_id) REFERENCES user_account (network_id, id) DEFERRABLE INITIALLY DEFERRED
) STRICT;
CREATE UNIQUE INDEX access_edge ON access (network_id, resource_id, ifnull(group_id, 0), ifnull(user_id, 0));
CREATE INDEX access_of_group ON access (network_id, group_id);
CREATE INDEX access_of_user ON access (network_id, user_id);

-- The subjects may be gone by now, so these refer to nothing.
CREATE TABLE revocation (
  network_id INTEGER NOT NULL REFERENCES network DEFERRABLE INITIALLY DEFERRED,
  id INTEGER NOT NULL CHECK (id > 0),
  user_id INTEGER NOT NULL,
  device_id INTEGER NOT NULL,
  key_digest BLOB NOT NULL CHECK (length(key_digest) = 32),
  resource_id INTEGER NOT NULL,
  min_policy_version INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  PRIMARY KEY (network_id, id)
) STRICT;

CREATE TABLE secret (
  network_id INTEGER NOT NULL REFERENCES network DEFERRABLE INITIALLY DEFERRED,
  name TEXT NOT NULL,
  sealed BLOB NOT NULL,
  PRIMARY KEY (network_id, name)
) STRICT;

-- Who did what. Entries stay for ever and cannot be changed.
CREATE TABLE audit (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  network_id INTEGER NOT NULL REFERENCES network DEFERRABLE INITIALLY DEFERRED,
  at INTEGER NOT NULL,
  actor TEXT NOT NULL,
  origin TEXT NOT NULL,
  action TEXT NOT NULL,
  subject TEXT NOT NULL,
  before_json TEXT NOT NULL,
  after_json TEXT NOT NULL
) STRICT;
CREATE INDEX audit_of_network ON audit (network_id, number);
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
  BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit
  BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;

-- Every flow and every denial. Rows cannot be changed; only the oldest go, when the log reaches its bounds.
CREATE TABLE flow_log (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  network_id INTEGER NOT NULL REFERENCES network DEFERRABLE INITIALLY DEFERRED,
  at INTEGER NOT NULL,
  connector_id INTEGER NOT NULL,
  user_id INTEGER NOT NULL,
  device_id INTEGER NOT NULL,
  resource_id INTEGER NOT NULL,
  target TEXT NOT NULL,
  refusal INTEGER NOT NULL,
  bytes_to_target INTEGER NOT NULL,
  bytes_from_target INTEGER NOT NULL,
  started_at INTEGER NOT NULL,
  duration_ms INTEGER NOT NULL,
  policy_version INTEGER NOT NULL,
  path TEXT NOT NULL
) STRICT;
CREATE INDEX flow_log_of_network ON flow_log (network_id, number);
CREATE TRIGGER flow_log_is_not_changed BEFORE UPDATE ON flow_log
  BEGIN SELECT RAISE(ABORT, 'the flow log is append-only'); END;
