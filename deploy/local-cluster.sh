#!/usr/bin/env bash
# Three nodes on this machine: PostgreSQL with a data directory of its own, three nodes, and a balancer in front of
# them, all on loopback. Ctrl-C stops everything that this started, and removes it.
#
#   deploy/local-cluster.sh [--binary PATH] [--balancer nginx|haproxy|none] [--keep DIRECTORY]
#
# Needs PostgreSQL's server and, for a balancer, nginx or HAProxy (Debian: apt install postgresql nginx-light haproxy).
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
binary=$root/target/release/tollgate
balancer=
keep=
while [ $# -gt 0 ]; do
    case $1 in
        --binary) binary=${2:?--binary needs a path}; shift 2 ;;
        --balancer) balancer=${2:?--balancer needs nginx, haproxy or none}; shift 2 ;;
        --keep) keep=${2:?--keep needs a directory}; shift 2 ;;
        *) sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
    esac
done

say() { printf '%s\n' "$*" >&2; }
give_up() { say "$*"; exit 1; }

# Where Debian and others put what is on no PATH.
find_postgres() {
    local place
    for place in "$(dirname "$(command -v initdb || echo /none/x)")" /usr/lib/postgresql/*/bin /usr/pgsql-*/bin \
        /opt/homebrew/opt/postgresql*/bin; do
        [ -x "$place/initdb" ] && [ -x "$place/postgres" ] && postgres=$place
    done
    [ -n "${postgres:-}" ] || give_up 'PostgreSQL is not here: apt install postgresql (or brew install postgresql).'
}

# PostgreSQL does not run as root: somebody else must, then. A command and no function: what is started in the background
# is then the server itself, and gets its signals.
as_somebody=()
if [ "$(id -u)" = 0 ]; then
    as_somebody=(setpriv --reuid=nobody --regid="$(id -g nobody)" --clear-groups --)
fi

free_port() {
    local port
    for port in $(seq "$1" "$(($1 + 200))"); do
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2> /dev/null || { echo "$port"; return; }
    done
    give_up "no free port from $1 on"
}

wait_for() {
    local what=$1
    shift
    for _ in $(seq 1 300); do
        "$@" > /dev/null 2>&1 && return
        sleep 0.1
    done
    give_up "$what did not come up; see $home"
}

processes=()
stop() {
    trap - EXIT INT TERM
    say 'Stopping ...'
    # In the order of their start from the back: the balancer, the nodes, which drain, then the database.
    local n
    for ((n = ${#processes[@]} - 1; n >= 1; n--)); do
        kill -TERM "${processes[n]}" 2> /dev/null || true
    done
    for ((n = ${#processes[@]} - 1; n >= 1; n--)); do
        wait "${processes[n]}" 2> /dev/null || true
    done
    if [ ${#processes[@]} -gt 0 ]; then
        # A fast shutdown, as pg_ctl does it.
        kill -INT "${processes[0]}" 2> /dev/null || true
        wait "${processes[0]}" 2> /dev/null || true
    fi
    [ -n "$keep" ] || rm -rf "$home"
}

find_postgres
[ -x "$binary" ] || (cd "$root" && cargo build --release --bin tollgate)
if [ -z "$balancer" ]; then
    balancer=none
    command -v nginx > /dev/null && balancer=nginx
    command -v haproxy > /dev/null && balancer=haproxy
fi
[ "$balancer" = none ] || command -v "$balancer" > /dev/null || give_up "$balancer is not here: apt install $balancer"

home=${keep:-$(mktemp -d)}
mkdir -p "$home"
chmod 755 "$home"
trap stop EXIT
trap 'exit 0' INT TERM

database=$(free_port 54320)
if [ ! -d "$home/postgres" ]; then
    mkdir "$home/postgres"
    [ "$(id -u)" != 0 ] || chown nobody "$home/postgres"
    ${as_somebody[@]+"${as_somebody[@]}"} "$postgres/initdb" --pgdata "$home/postgres" --username tollgate --auth trust --no-locale --encoding UTF8 \
        > "$home/initdb.log"
fi
${as_somebody[@]+"${as_somebody[@]}"} "$postgres/postgres" -D "$home/postgres" -p "$database" -h 127.0.0.1 \
    -c unix_socket_directories= \
    > "$home/postgres.log" 2>&1 &
processes+=($!)
wait_for PostgreSQL "$postgres/pg_isready" -h 127.0.0.1 -p "$database" -U tollgate

secret=${STRIPE_WEBHOOK_SECRET:-whsec_local_cluster_only}
webhooks=() admins=()
for n in 1 2 3; do
    webhook=$(free_port "$((4250 + n * 10))")
    peer=$(free_port "$((webhook + 1))")
    admin=$(free_port "$((9464 + n * 10))")
    STRIPE_WEBHOOK_SECRET=$secret \
        TOLLGATE_NODE_ID=tollgate-$n \
        TOLLGATE_LISTEN=127.0.0.1:$webhook \
        TOLLGATE_PEER_LISTEN=127.0.0.1:$peer \
        TOLLGATE_PEER_ADDRESS=127.0.0.1:$peer \
        TOLLGATE_ADMIN_LISTEN=127.0.0.1:$admin \
        TOLLGATE_JOURNAL=postgres://tollgate@127.0.0.1:$database/postgres \
        TOLLGATE_ANSWER_WITHIN=${TOLLGATE_ANSWER_WITHIN:-700ms} \
        TOLLGATE_DRAIN_DELAY=${TOLLGATE_DRAIN_DELAY:-1s} \
        "$binary" serve > "$home/tollgate-$n.log" 2>&1 &
    processes+=($!)
    webhooks+=("$webhook") admins+=("$admin")
done
for n in 1 2 3; do
    wait_for "tollgate-$n" curl --silent --fail "http://127.0.0.1:${admins[n - 1]}/readyz"
done

# The files for real machines, with the names of three machines replaced by this one's ports.
here() {
    local n rules=(-e "s/bind :8080/bind 127.0.0.1:$1/" -e "s/listen 8080/listen 127.0.0.1:$1/")
    rules+=(-e "s#/tmp/tollgate-nginx#$home/nginx#")
    for n in 1 2 3; do
        rules+=(-e "s/tollgate-$n:4242 port 9464/127.0.0.1:${webhooks[n - 1]} port ${admins[n - 1]}/")
        rules+=(-e "s/tollgate-$n:4242/127.0.0.1:${webhooks[n - 1]}/")
    done
    sed "${rules[@]}" "$2"
}
front=
case $balancer in
    nginx)
        front=$(free_port 4242)
        here "$front" "$root/deploy/nginx.conf" > "$home/nginx.conf"
        nginx -c "$home/nginx.conf" -g 'daemon off;' > "$home/nginx.log" 2>&1 &
        processes+=($!)
        ;;
    haproxy)
        front=$(free_port 4242)
        here "$front" "$root/deploy/haproxy.cfg" > "$home/haproxy.cfg"
        haproxy -db -f "$home/haproxy.cfg" > "$home/haproxy.log" 2>&1 &
        processes+=($!)
        ;;
    none) ;;
    *) give_up "no such balancer: $balancer; expected nginx, haproxy or none" ;;
esac
[ -z "$front" ] || wait_for "$balancer" curl --silent "http://127.0.0.1:$front/"

say
[ -z "$front" ] || say "  webhook      http://127.0.0.1:$front/webhook   ($balancer)"
for n in 1 2 3; do
    say "  tollgate-$n   http://127.0.0.1:${webhooks[n - 1]}/webhook   admin http://127.0.0.1:${admins[n - 1]}/v1/node"
done
say "  PostgreSQL   postgres://tollgate@127.0.0.1:$database/postgres"
say "  secret       $secret"
say "  logs         $home"
say
say "Send a signed event: $binary sign EVENT.json --secret $secret --curl http://127.0.0.1:${front:-${webhooks[0]}}/webhook"
say 'Ctrl-C stops everything.'
wait
