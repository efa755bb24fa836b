//! Completion. kubectl asks a program named `kubectl_complete-fateh` for words: a link to this one of that name.

use std::{path::Path, process::ExitCode};

use clap::CommandFactory;
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
        Wanted::Nodes => names::<LocalNode>().await,
        Wanted::Distributions => names::<ContentDistribution>().await,
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
    let given: Vec<_> = before.iter().filter(|word| !word.starts_with('-')).collect();
    let commands = || arguments.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    let [name, rest @ ..] = &given[..] else { return Wanted::Words(commands()) };
    let command = arguments.find_subcommand(name);
    let Some(next) = command.and_then(|command| command.get_positionals().nth(rest.len())) else {
        return Wanted::Nothing;
    };
    match next.get_id().as_str() {
        "node" => Wanted::Nodes,
        "distribution" => Wanted::Distributions,
        _ => Wanted::Words(next.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect()),
    }
}

/// Names in the cluster; none when it cannot be asked: a shell is no place for errors.
async fn names<K>() -> Vec<String>
where
    K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let Ok(cluster) = Cluster::connect(None, None).await else { return Vec::new() };
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
    }
}
