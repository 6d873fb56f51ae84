use std::io::Write as _;

use clap::{Args, CommandFactory as _};
use clap_complete::{Shell, generate};

use crate::arguments::Arguments;
use crate::failure::Outcome;

/// Print a script with which a shell completes this command's arguments
///
/// bash: `source <(weft completion bash)` in ~/.bashrc
///
/// zsh: `weft completion zsh > _weft` in a folder of $fpath
///
/// fish: `weft completion fish > ~/.config/fish/completions/weft.fish`
#[derive(Args)]
pub(crate) struct Completion {
    shell: Shell,
}

impl Completion {
    pub(crate) fn run(self) -> Outcome {
        // Into memory: the generator knows no pipe that ends early.
        let mut script = Vec::new();
        generate(self.shell, &mut Arguments::command(), "weft", &mut script);
        Ok(std::io::stdout().write_all(&script)?)
    }
}
