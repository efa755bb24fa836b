//! Completion. kubectl asks a program named `kubectl_complete-fateh` for words: a link to this one of that name.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Arg, Command, CommandFactory};
use clap_complete::Shell;
use fateh_crds::{ContentDistribution, LocalNode};
use kube::ResourceExt;

use crate::{
    arguments::Arguments,
    cluster::{Cluster, Failure},
};

/// The name under which kubectl looks for the words of its plugin.
const COMPLETER: &str = "kubectl_complete-fateh";
/// To kubectl's own completion: offer no files (cobra's ShellCompDirectiveNoFileComp).
const NO_FILES: u8 = 4;

/// The words so far, when kubectl asks how they go on.
pub fn asked() -> Option<Vec<String>> {
    let mut words = std::env::args();
    let program = words.next()?;
    (Path::new(&program).file_name()? == COMPLETER).then(|| words.collect())
}

/// Answers kubectl: a word to a line, and what to do beside them.
pub async fn answer(words: &[String]) -> ExitCode {
    let (before, last) = words.split_last().map_or((&[] as &[_], ""), |(last, before)| (before, last.as_str()));
    let mut offered = match wanted(before) {
        Wanted::Words(words) => words,
        Wanted::Nodes => names::<LocalNode>(before).await,
        Wanted::Distributions => names::<ContentDistribution>(before).await,
        Wanted::Nothing => Vec::new(),
    };
    offered.retain(|word| word.starts_with(last));
    for word in offered {
        println!("{word}");
    }
    println!(":{NO_FILES}");
    ExitCode::SUCCESS
}

/// Prints the script by which a shell completes `kubectl-fateh` itself.
pub fn script(shell: Shell) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "kubectl-fateh", &mut text);
    Ok(std::io::Write::write_all(&mut std::io::stdout(), &text)?)
}

/// What may come next.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Words(Vec<String>),
    Nodes,
    Distributions,
    Nothing,
}

fn wanted(before: &[String]) -> Wanted {
    let arguments = Arguments::command();
    let mut given = Vec::new();
    let mut words = before.iter();
    while let Some(word) = words.next() {
        if !word.starts_with('-') {
            given.push(word);
        } else if let Some(option) = option_with_value(&arguments, word)
            && words.next().is_none()
        {
            return Wanted::Words(values(option));
        }
    }
    let commands = || arguments.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    let [name, rest @ ..] = &given[..] else { return Wanted::Words(commands()) };
    let command = arguments.find_subcommand(name);
    let Some(next) = command.and_then(|command| command.get_positionals().nth(rest.len())) else {
        return Wanted::Nothing;
    };
    match next.get_id().as_str() {
        "node" => Wanted::Nodes,
        "distribution" => Wanted::Distributions,
        _ => Wanted::Words(values(next)),
    }
}

/// The option that a word is, if the word after it is its value.
fn option_with_value<'a>(arguments: &'a Command, word: &str) -> Option<&'a Arg> {
    let of_commands = arguments.get_subcommands().flat_map(Command::get_arguments);
    let mut options = arguments.get_arguments().chain(of_commands).filter(|option| option.get_action().takes_values());
    options.find(|option| {
        let long = option.get_long().is_some_and(|long| word.strip_prefix("--") == Some(long));
        long || option.get_short().is_some_and(|short| word.strip_prefix('-') == Some(&*short.to_string()))
    })
}

fn values(of: &Arg) -> Vec<String> {
    of.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect()
}

/// Names in the cluster that is named so far; none when it cannot be asked: a shell is no place for errors.
async fn names<K>(before: &[String]) -> Vec<String>
where
    K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let words = std::iter::once("kubectl-fateh").chain(before.iter().map(String::as_str));
    let given = Arguments::command().ignore_errors(true).get_matches_from(words);
    let file = given.get_one::<PathBuf>("kubeconfig").map(PathBuf::as_path);
    let Ok(cluster) = Cluster::connect(file, given.get_one::<String>("context").cloned()).await else {
        return Vec::new();
    };
    let found: Vec<K> = cluster.all(None).await.unwrap_or_default();
    found.iter().map(ResourceExt::name_any).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_next_depends_on_what_stands_there() {
        let after = |words: &[&str]| wanted(&words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>());
        let Wanted::Words(commands) = after(&[]) else { panic!("no commands") };
        assert!(["status", "rollout", "report"].iter().all(|name| commands.iter().any(|known| known == name)));
        assert_eq!(after(&["tree"]), Wanted::Nodes);
        assert_eq!(after(&["rollout", "--watch"]), Wanted::Distributions);
        assert_eq!(after(&["tree", "riyadh"]), Wanted::Nothing);
        // The value of an option is no command, and no name.
        assert_eq!(after(&["--context", "tree", "status"]), Wanted::Nothing);
        assert_eq!(after(&["--context", "mine", "tree"]), Wanted::Nodes);
        assert_eq!(after(&["--context=mine", "tree"]), Wanted::Nodes);
        assert_eq!(after(&["status", "-l", "region=mena", "--output"]), after(&["-o"]));
        let Wanted::Words(formats) = after(&["tree", "-o"]) else { panic!("no formats") };
        assert_eq!(formats, ["table", "json", "yaml"]);
        assert_eq!(after(&["tree", "--context"]), Wanted::Words(Vec::new()));
    }
}
