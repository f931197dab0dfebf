#!/usr/bin/env bash
# Runs once, when the cluster is made: the console's role, the database it looks after, and one
# for its own memory.
set -euo pipefail

# CREATEROLE: backups of others are tried out by a login without rights. From PostgreSQL 16 on it
# reaches only the roles that its bearer has made.
# psql reads the password from the environment: no command line shows it.
psql --no-psqlrc --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres <<'SQL'
\getenv password POSTGRES_PASSWORD
CREATE ROLE console LOGIN CREATEDB CREATEROLE PASSWORD :'password' IN ROLE pg_monitor, pg_signal_backend;

-- What the Health page looks at and only administrators may see; in the template that each
-- restored database is made from, too, so that no restore takes it away.
ALTER DATABASE template0 ALLOW_CONNECTIONS true;
\connect template0
GRANT SELECT ON pg_hba_file_rules, pg_file_settings TO console;
GRANT EXECUTE ON FUNCTION pg_hba_file_rules(), pg_show_all_file_settings() TO console;
\connect postgres
ALTER DATABASE template0 ALLOW_CONNECTIONS false;

CREATE DATABASE app OWNER console TEMPLATE template0;
CREATE DATABASE console OWNER console;

-- From here on, the superuser can sign in from inside this container only.
ALTER ROLE CURRENT_USER PASSWORD NULL;
SQL
