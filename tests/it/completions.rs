//! `simsearch completions` and `simsearch man`.

use std::fs;
use std::process::Command;

use crate::{TestEnv, succeed};

/// The commands that `--help` lists.
fn commands(env: &TestEnv) -> Vec<String> {
    let help = env.run(["--help"]).stdout;
    let list = help.split("Commands:\n").nth(1).unwrap();
    let list = list.split("\n\n").next().unwrap();
    let lines = list.lines().filter(|line| !line.starts_with("   "));
    let names = lines.map(|line| line.split_whitespace().next().unwrap());
    names.map(str::to_owned).collect()
}

#[test]
fn every_shell_gets_every_command_and_no_hidden_one() {
    let env = TestEnv::new();
    let commands = commands(&env);
    assert!(commands.contains(&"extract".into()), "{commands:?}");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let outcome = env.run(["completions", shell]);
        outcome.exits(0);
        for command in &commands {
            assert!(
                outcome.stdout.contains(command.as_str()),
                "{shell}: {command}"
            );
        }
        assert!(outcome.stdout.contains("media-dir"), "{shell}");
        assert!(!outcome.stdout.contains("try-library"), "{shell}");
    }
}

#[test]
fn bash_completes_commands_and_options() {
    let env = TestEnv::new();
    env.write("completions", env.run(["completions", "bash"]).stdout);
    for (words, expected) in [
        ("simsearch ex", "export extract"),
        ("simsearch concat --full", "--full-only"),
        ("simsearch extract --precision b", "bf16"),
    ] {
        let script = format!(
            "source completions
            COMP_WORDS=({words}) COMP_CWORD=$(({} - 1))
            _simsearch simsearch \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD - 1]}}\"
            printf '%s\\n' \"${{COMPREPLY[@]}}\" | sort | paste -sd ' '",
            words.split(' ').count(),
        );
        let mut bash = Command::new("bash");
        bash.args(["-c", &script]).current_dir(env.path(""));
        assert_eq!(succeed(&mut bash).trim_end(), expected, "{words}");
    }
}

#[test]
fn every_command_has_a_man_page() {
    let env = TestEnv::new();
    env.run(["man", "share/man1"]).exits(0);
    let page = |name: &str| {
        let path = env.path(format!("share/man1/{name}.1"));
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let main = page("simsearch");
    for command in commands(&env).iter().filter(|name| *name != "help") {
        assert!(
            main.contains(&format!("simsearch\\-{command}(1)")),
            "{main}"
        );
        assert!(
            page(&format!("simsearch-{command}")).contains(".SH NAME"),
            "{command}"
        );
    }
    assert!(!env.path("share/man1/simsearch-try-library.1").exists());
}

#[test]
fn man_pages_that_cannot_be_written_are_an_error_that_names_the_folder() {
    let env = TestEnv::new();
    env.write("file", "");
    env.run(["man", "file"])
        .exits(1)
        .says(&["cannot write the man pages to file"]);
}
