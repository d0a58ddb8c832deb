#!/usr/bin/env bash
# Plays Stripe to Tollgate, measures it, and audits every answer: `./loadtest/run.sh [SCENARIO] [OPTIONS]`, where
# `--help` names both. PROFILE=dist measures what production runs; PROFILE=dev is built sooner, and its times mean nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

profile=${PROFILE:-release}
# One after the other: built together they would share features, and the node would not be the one that `cargo run` built.
cargo build --profile "$profile" --package tollgate --bin tollgate
cargo build --profile "$profile" --package tollgate-loadtest --bin tollgate-loadtest
built=${CARGO_TARGET_DIR:-target}/$([ "$profile" = dev ] && echo debug || echo "$profile")
exec "$built/tollgate-loadtest" "$@"
