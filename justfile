# Short names for what contributors run. Each recipe is one command that also works without `just`.

# List the recipes.
default:
    @just --list

# Compile everything, tests included.
check:
    cargo check --locked --all-targets

# Format, lints and the tests that need nothing but Rust.
test-fast:
    tests/run --fast

# Everything: real servers, a browser, Prometheus. Installs missing Debian packages as root.
test:
    tests/run

# Rewrite every part of the repository that follows from the code. Read the difference before you commit.
bless:
    UPDATE=1 cargo test --locked --lib report::
    UPDATE=1 cargo test --locked --test it -- --include-ignored precision:: unknown_faults:: findings:: modes:: arrows:: kubernetes::chart::copies
