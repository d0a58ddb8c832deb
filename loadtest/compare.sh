#!/usr/bin/env bash
# Tollgate beside what users would pick instead: `./loadtest/compare.sh [OPTIONS]`, where `--help` names them. The same
# signed questions go to each server in turn; what each took is printed, and kept in compare.json.
#
# The servers in Node need node and npm, those on PostgreSQL its server (Debian: apt install nodejs npm postgresql). What
# is not here is said and skipped. A database that this starts is stopped and removed at the end.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '%s\n' "$*" >&2; }

home=
postgres_process=
stop() {
    if [ -n "$postgres_process" ]; then
        # A fast shutdown, as pg_ctl does it.
        kill -INT "$postgres_process" 2> /dev/null || true
        wait "$postgres_process" 2> /dev/null || true
    fi
    [ -z "$home" ] || rm -rf "$home"
}
trap stop EXIT

# PostgreSQL does not run as root: somebody else must, then.
somebody=()
[ "$(id -u)" != 0 ] || somebody=(setpriv --reuid=nobody --regid="$(id -g nobody)" --clear-groups --)

# A server with the settings that PostgreSQL comes with, but for where it listens.
start_postgres() {
    local place postgres='' port log
    for place in "$(dirname "$(command -v initdb || echo /none/x)")" /usr/lib/postgresql/*/bin /usr/pgsql-*/bin \
        /opt/homebrew/opt/postgresql*/bin; do
        [ -x "$place/initdb" ] && [ -x "$place/postgres" ] && postgres=$place
    done
    [ -n "$postgres" ] || return 1
    home=$(mktemp -d "${TMPDIR:-/tmp}/compare.XXXXXX")
    log=$home/postgres.log
    [ "$(id -u)" != 0 ] || chown nobody "$home"
    ${somebody[@]+"${somebody[@]}"} "$postgres/initdb" --pgdata "$home/data" --username tollgate --auth trust --no-locale --encoding UTF8 \
        > "$home/initdb.log" || { cat "$home/initdb.log" >&2; return 1; }
    for port in $(seq 5433 5533); do
        (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null && continue
        ${somebody[@]+"${somebody[@]}"} "$postgres/postgres" -D "$home/data" -p "$port" -k "$home" > "$log" 2>&1 &
        postgres_process=$!
        for _ in $(seq 1 300); do
            kill -0 "$postgres_process" 2> /dev/null || break
            if "$postgres/psql" -h 127.0.0.1 -p "$port" -U tollgate -d postgres -qc 'CREATE DATABASE tollgate' \
                > /dev/null 2>&1; then
                "$postgres/psql" -h 127.0.0.1 -p "$port" -U tollgate -d postgres -qc 'CREATE DATABASE peer'
                database=(--database "postgres://tollgate@127.0.0.1:$port" --database-process "$postgres_process")
                return 0
            fi
            sleep 0.1
        done
        # Somebody else may have taken the port meanwhile.
        wait "$postgres_process" 2> /dev/null || true
        postgres_process=
    done
    cat "$log" >&2
    return 1
}

profile=${PROFILE:-dist}
cargo build --profile "$profile" --package tollgate --bin tollgate
cargo build --profile "$profile" --package tollgate-loadtest --bin tollgate-loadtest
built=${CARGO_TARGET_DIR:-target}/$([ "$profile" = dev ] && echo debug || echo "$profile")
case " $* " in *' --help '* | *' -h '*) exec "$built/tollgate-loadtest" compare --help ;; esac

peers=()
if ! command -v node > /dev/null || ! command -v npm > /dev/null; then
    say 'node or npm is not here: the servers in Node are skipped.'
elif ! (cd loadtest/peers && npm ci --no-audit --no-fund --loglevel=error >&2); then
    say 'npm ci failed: the servers in Node are skipped.'
else
    peers=(--peers loadtest/peers)
fi

database=()
start_postgres || say 'PostgreSQL is not here, or does not start: what needs it is skipped.'

"$built/tollgate-loadtest" compare ${peers[@]+"${peers[@]}"} ${database[@]+"${database[@]}"} "$@"
