//! The program: parse, install the crypto provider, run, exit code.

use std::process::ExitCode;

use registry_prober::{cli, transport};

fn main() -> ExitCode {
    let cli = match cli::parse() {
        Ok(cli) => cli,
        Err(exit) => return exit.into(),
    };
    transport::install_crypto_provider();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return cli::failed(&error.into()).into(),
    };
    let exit = runtime.block_on(cli::run(cli));
    // A name being looked up must not hold up the end.
    runtime.shutdown_background();
    exit.into()
}
