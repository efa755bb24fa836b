//! The operator as a process, behind a proxy to the API server: started, killed, and started again.

use std::{
    path::PathBuf,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{
    process::{Child, Command},
    sync::Mutex,
};

use crate::variable;

/// A running operator, or one that was killed a moment ago.
pub struct Program {
    kubeconfig: PathBuf,
    arguments: Vec<String>,
    child: Mutex<Option<Child>>,
    starts: AtomicU32,
}

impl Program {
    /// Starts the operator against the API server at `api`, without an election.
    pub async fn start(name: &str, api: &str, arguments: &[&str]) -> Arc<Self> {
        let logs = PathBuf::from(variable("FATEH_LOGS"));
        let kubeconfig = logs.join(format!("{name}.kubeconfig"));
        let config = format!(
            "apiVersion: v1\nkind: Config\nclusters: [{{name: t, cluster: {{server: \"{api}\"}}}}]\nusers: [{{name: u, user: {{}}}}]\ncontexts: [{{name: t, context: {{cluster: t, user: u}}}}]\ncurrent-context: t\n"
        );
        Self::run(kubeconfig.clone(), Some(config), arguments).await
    }

    /// Starts the operator with the kubeconfig of its own rights, without a proxy or an election.
    pub async fn start_directly(name: &str, arguments: &[&str]) -> Arc<Self> {
        let kubeconfig = PathBuf::from(variable("FATEH_LOGS")).join(format!("{name}.kubeconfig"));
        let config = std::fs::read_to_string(variable("FATEH_OPERATOR_KUBECONFIG"));
        Self::run(kubeconfig, config.ok(), arguments).await
    }

    async fn run(kubeconfig: PathBuf, config: Option<String>, arguments: &[&str]) -> Arc<Self> {
        let config = config.unwrap_or_else(|| panic!("the operator's kubeconfig cannot be read"));
        std::fs::write(&kubeconfig, config).unwrap_or_else(|error| panic!("write {}: {error}", kubeconfig.display()));
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let program = Arc::new(Self { kubeconfig, arguments, child: Mutex::new(None), starts: AtomicU32::new(0) });
        program.launch().await;
        program
    }

    async fn launch(&self) {
        self.starts.fetch_add(1, Ordering::Relaxed);
        let log = self.kubeconfig.with_extension("log");
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .unwrap_or_else(|error| panic!("open the log: {error}"));
        let child = Command::new(PathBuf::from(variable("FATEH_PROGRAMS")).join("fateh-operator"))
            .env("KUBECONFIG", &self.kubeconfig)
            .env("RUST_LOG", "info")
            // Unless an argument says otherwise.
            .env("FATEH_PROBE_INTERVAL", "2")
            .args(["--leader-election=false", "--management-address=127.0.0.1:0"])
            .args(["--node-image=registry.test/node-runtime:1", "--report-interval=60"])
            .args(&self.arguments)
            .stdout(log)
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("start the operator: {error}"));
        *self.child.lock().await = Some(child);
    }

    /// SIGKILL, now; returns when the process is gone.
    pub async fn kill(&self) {
        if let Some(mut child) = self.child.lock().await.take() {
            child.kill().await.unwrap_or_else(|error| panic!("kill the operator: {error}"));
        }
    }

    /// Starts it again after a kill.
    pub async fn start_again(&self) {
        self.launch().await;
    }

    /// How often it was started.
    pub fn starts(&self) -> u32 {
        self.starts.load(Ordering::Relaxed)
    }

    async fn id(&self) -> u32 {
        self.child.lock().await.as_ref().and_then(Child::id).unwrap_or_else(|| panic!("the operator does not run"))
    }

    /// Resident memory in kB.
    pub async fn memory(&self) -> u64 {
        memory(self.id().await, "VmRSS:")
    }

    /// The most that was ever resident, in kB.
    pub async fn peak_memory(&self) -> u64 {
        memory(self.id().await, "VmHWM:")
    }

    /// Processor time used so far, in ms.
    pub async fn processor_time(&self) -> u64 {
        processor_time(self.id().await)
    }

    /// SIGTERM, and the end within the time that a graceful stop may take.
    pub async fn stop(&self) {
        let Some(mut child) = self.child.lock().await.take() else { return };
        let pid = child.id().map(|id| id.to_string()).unwrap_or_default();
        let signalled = Command::new("kill").args(["-TERM", &pid]).status().await;
        assert!(signalled.is_ok_and(|status| status.success()), "the operator ended before it was asked to");
        let ended = tokio::time::timeout(Duration::from_secs(25), child.wait()).await;
        assert!(ended.is_ok(), "the operator did not stop");
    }
}

/// A line of a process's status, in kB.
#[must_use]
pub fn memory(pid: u32, line: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let value = status.lines().find_map(|text| text.strip_prefix(line)).unwrap_or_default();
    value.trim().trim_end_matches(" kB").parse().unwrap_or_else(|_| panic!("process {pid} has no {line}"))
}

/// Processor time that a process has used so far, in ms.
#[must_use]
pub fn processor_time(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2).filter_map(|word| word.parse::<u64>().ok());
    // A hundred ticks a second, on every Linux that this runs on.
    ticks.sum::<u64>() * 10
}
