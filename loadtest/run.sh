#!/usr/bin/env bash
# Plays Stripe to Tollgate, measures it, and audits every answer: `./loadtest/run.sh [SCENARIO] [OPTIONS]`, where
# `--help` names both. PROFILE=dev uses a debug build, which is built sooner and whose times say nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

profile=${PROFILE:-release}
cargo build --quiet --profile "$profile" --package tollgate --bin tollgate --package tollgate-loadtest --bin tollgate-loadtest
built=${CARGO_TARGET_DIR:-target}/$([ "$profile" = dev ] && echo debug || echo "$profile")
exec "$built/tollgate-loadtest" "$@"
