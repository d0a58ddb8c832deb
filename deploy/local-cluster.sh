#!/usr/bin/env bash
# Three nodes on this machine: PostgreSQL with a data directory of its own, three nodes, and a balancer in front of
# them, all on loopback. Ctrl-C stops everything that this started, and removes it.
#
#   deploy/local-cluster.sh [--binary PATH] [--balancer nginx|haproxy|none] [--keep DIRECTORY] [--ports FIRST]
#
# Needs PostgreSQL's server, curl and, for a balancer, nginx or HAProxy (Debian: apt install postgresql curl nginx-light
# haproxy). Without --binary it builds a release. --keep leaves database and logs, and goes on with them the next time.
# The ports are those that are free from 4242 on, or from --ports.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
say() { printf '%s\n' "$*" >&2; }
give_up() { say "$*"; exit 1; }
usage() { sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }

binary=
balancer=
keep=
port=4242
while [ $# -gt 0 ]; do
    case $1 in
        --binary) binary=${2:?--binary needs a path}; shift 2 ;;
        --balancer) balancer=${2:?--balancer needs nginx, haproxy or none}; shift 2 ;;
        --keep) keep=${2:?--keep needs a directory}; shift 2 ;;
        --ports) port=${2:?--ports needs the number of a port}; shift 2 ;;
        --help) usage; exit ;;
        *) usage >&2; exit 2 ;;
    esac
done

# Where Debian and others put what is on no PATH, or only on root's.
PATH=$PATH:/usr/local/sbin:/usr/sbin
find_postgres() {
    local place
    for place in /opt/homebrew/opt/postgresql*/bin /usr/pgsql-*/bin /usr/lib/postgresql/*/bin \
        "$(dirname "$(command -v initdb || echo /none/x)")"; do
        if [ -x "$place/initdb" ] && [ -x "$place/postgres" ] && [ -x "$place/pg_isready" ]; then postgres=$place; fi
    done
    [ -n "${postgres:-}" ] || give_up 'PostgreSQL is not installed: apt install postgresql (or brew install postgresql).'
}

# PostgreSQL does not run as root: somebody else must, then. A command and no function: what is started in the background
# is then the server itself, and gets its signals.
as_somebody=()
if [ "$(id -u)" = 0 ]; then
    as_somebody=(setpriv --reuid=nobody --regid="$(id -g nobody)" --clear-groups --)
fi

# Sets a variable to the next port on which nobody listens.
take_port() {
    while (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null; do port=$((port + 1)); done
    printf -v "$1" %s "$port"
    port=$((port + 1))
}

names=() pids=()
# Starts a command, whose output goes to the log of that name.
launch() {
    local name=$1
    shift
    # With a process group of its own: Ctrl-C is for this script, which ends everything in its order.
    set -m
    "$@" < /dev/null > "$home/$name.log" 2>&1 9>&- &
    set +m
    names+=("$name") pids+=($!)
    echo $! >&9
}

# The end of a log, which may be gone a moment later.
give_up_with() { give_up "$1; its last lines:"$'\n'"$(tail -n 5 "$2")"; }

# Waits until a command succeeds, which it does when the process started as number $1 is up.
wait_for() {
    local name=${names[$1]} pid=${pids[$1]}
    shift
    for _ in $(seq 1 300); do
        "$@" > /dev/null 2>&1 && return
        kill -0 "$pid" 2> /dev/null || give_up_with "$name has ended" "$home/$name.log"
        sleep 0.1
    done
    give_up_with "$name did not come up" "$home/$name.log"
}

gone() { ! kill -0 "$1" 2> /dev/null; }
# Ends it with a signal, also where somebody has stopped it.
end() { kill "-$1" "$2" 2> /dev/null && kill -CONT "$2" 2> /dev/null || true; }
stop() {
    # Whoever does not want to wait: once more.
    trap - EXIT
    trap 'for pid in ${pids[@]+"${pids[@]}"}; do end KILL "$pid"; done' INT TERM HUP
    # Nobody may be there to read it: a terminal that was closed.
    say 'Stopping ...' || true
    # The balancer, and the nodes, which drain; then the database, by a fast shutdown, as pg_ctl does it.
    local n
    for ((n = ${#pids[@]} - 1; n >= 1; n--)); do end TERM "${pids[n]}"; done
    for ((n = ${#pids[@]} - 1; n >= 0; n--)); do
        [ "$n" != 0 ] || end INT "${pids[0]}"
        until gone "${pids[n]}"; do wait "${pids[n]}" 2> /dev/null || true; done
    done
    echo finished >&9
    [ -n "$keep" ] || rm -rf "$home"
}

find_postgres
command -v curl > /dev/null || give_up 'curl is not installed: apt install curl'
if [ -z "$balancer" ]; then
    balancer=none
    command -v nginx > /dev/null && balancer=nginx
    command -v haproxy > /dev/null && balancer=haproxy
fi
case $balancer in
    none) ;;
    nginx | haproxy) command -v "$balancer" > /dev/null || give_up "$balancer is not installed: apt install $balancer" ;;
    *) give_up "unknown balancer: $balancer; expected nginx, haproxy or none" ;;
esac
if [ -z "$binary" ]; then
    (cd "$root" && cargo build --release --bin tollgate)
    binary=${CARGO_TARGET_DIR:-$root/target}/release/tollgate
fi
[ -x "$binary" ] || give_up "$binary is not a program"

if [ -n "$keep" ]; then
    mkdir -p "$keep"
    home=$(cd "$keep" && pwd)
else
    home=$(mktemp -d)
    # Whoever runs PostgreSQL in place of root has to get there.
    chmod 755 "$home"
fi
# Ends what was started where this script cannot: after its kill -9.
exec 9> >(trap '' INT TERM HUP
    started=()
    while read -r pid; do
        [ "$pid" != finished ] || exit 0
        started+=("$pid")
    done
    # At once, a database with its other processes; the balancers take the second word.
    kill -QUIT "${started[@]}" 2> /dev/null
    kill -TERM "${started[@]}" 2> /dev/null)
trap stop EXIT
trap 'exit 0' INT TERM HUP

front=
if [ "$balancer" != none ]; then take_port front; fi
take_port database
if [ ! -d "$home/postgres" ]; then
    # Made elsewhere and moved: half of a database is none.
    rm -rf "$home/postgres.new"
    mkdir "$home/postgres.new"
    [ "$(id -u)" != 0 ] || chown nobody "$home/postgres.new"
    ${as_somebody[@]+"${as_somebody[@]}"} "$postgres/initdb" --pgdata "$home/postgres.new" --username tollgate \
        --auth trust --no-locale --encoding UTF8 > "$home/initdb.log" 2>&1 \
        || give_up_with 'initdb failed' "$home/initdb.log"
    mv "$home/postgres.new" "$home/postgres"
fi
launch postgres ${as_somebody[@]+"${as_somebody[@]}"} "$postgres/postgres" -D "$home/postgres" -p "$database" \
    -h 127.0.0.1 -c unix_socket_directories=
wait_for 0 "$postgres/pg_isready" -h 127.0.0.1 -p "$database" -U tollgate

secret=${STRIPE_WEBHOOK_SECRET:-whsec_local_cluster_only}
webhooks=() admins=()
for n in 1 2 3; do
    take_port webhook
    take_port peer
    take_port admin
    # HAProxy notices within a second and a half that a node drains.
    launch "tollgate-$n" env \
        STRIPE_WEBHOOK_SECRET="$secret" \
        TOLLGATE_NODE_ID="tollgate-$n" \
        TOLLGATE_LISTEN="127.0.0.1:$webhook" \
        TOLLGATE_PEER_LISTEN="127.0.0.1:$peer" \
        TOLLGATE_PEER_ADDRESS="127.0.0.1:$peer" \
        TOLLGATE_ADMIN_LISTEN="127.0.0.1:$admin" \
        TOLLGATE_JOURNAL="postgres://tollgate@127.0.0.1:$database/postgres" \
        TOLLGATE_STATE_DIR="$home/state" \
        TOLLGATE_ANSWER_WITHIN="${TOLLGATE_ANSWER_WITHIN:-700ms}" \
        TOLLGATE_DRAIN_DELAY="${TOLLGATE_DRAIN_DELAY:-2s}" \
        "$binary" serve
    webhooks+=("$webhook") admins+=("$admin")
done
for n in 1 2 3; do
    wait_for "$n" curl --silent --fail "http://127.0.0.1:${admins[n - 1]}/readyz"
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
case $balancer in
    nginx)
        here "$front" "$root/deploy/nginx.conf" > "$home/nginx.conf"
        launch nginx nginx -c "$home/nginx.conf" -g 'daemon off;'
        ;;
    haproxy)
        here "$front" "$root/deploy/haproxy.cfg" > "$home/haproxy.cfg"
        launch haproxy haproxy -db -f "$home/haproxy.cfg"
        ;;
esac
[ -z "$front" ] || wait_for 4 curl --silent "http://127.0.0.1:$front/"

say
[ -z "$front" ] || say "  webhook      http://127.0.0.1:$front/webhook   ($balancer)"
for n in 1 2 3; do
    say "  tollgate-$n   http://127.0.0.1:${webhooks[n - 1]}/webhook   admin http://127.0.0.1:${admins[n - 1]}/v1/node   process ${pids[n]}"
done
say "  PostgreSQL   postgres://tollgate@127.0.0.1:$database/postgres"
say "  secret       $secret"
say "  logs         $home"
say
say 'Send a purchase of 25.00 USD:'
say "  $binary purchase 25.00 --secret $secret --node 127.0.0.1:${front:-${webhooks[0]}} --admin 127.0.0.1:${admins[0]}"
say "Kill a node (kill -9 ${pids[1]}), and send it again. Ctrl-C stops everything."

told=
while sleep 1; do
    for n in "${!pids[@]}"; do
        if gone "${pids[n]}" && [[ $told != *" $n "* ]]; then
            told+=" $n "
            code=0
            wait "${pids[n]}" 2> /dev/null || code=$?
            say "${names[n]} has ended (code $code); the others go on. Its log: $home/${names[n]}.log"
        fi
    done
done
