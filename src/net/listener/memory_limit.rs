//! How much memory the process has left. Near its limit new requests are refused, so that those in progress
//! can finish; otherwise the kernel would end the process.

use std::fs;
use std::path::Path;

/// The limit that the use of memory is compared with.
pub(super) struct MemoryLimit {
    most: u64,
}

/// At this percentage of the limit, requests are refused.
const FULL: u64 = 95;

impl MemoryLimit {
    /// Takes this limit in bytes; without one, that of the control group, if there is one. 0 is no limit.
    pub(super) fn new(limit: Option<u64>) -> Option<Self> {
        let most = limit.or_else(|| of_control_group(Path::new("/sys/fs/cgroup")))?;
        (most > 0).then_some(Self { most })
    }

    /// Whether nearly all is used. If that cannot be read, no request is refused.
    pub(super) fn is_short(&self) -> bool {
        let used = fs::read_to_string("/proc/self/statm").ok().and_then(|statm| resident(&statm));
        used.is_some_and(|used| is_full(used, self.most))
    }
}

fn is_full(used: u64, most: u64) -> bool {
    u128::from(used) * 100 >= u128::from(most) * u128::from(FULL)
}

/// Resident and not backed by files, in bytes, of `/proc/self/statm`.
fn resident(statm: &str) -> Option<u64> {
    const PAGE: u64 = 4096;
    let mut pages = statm.split(' ').skip(1).map(|field| field.parse::<u64>().ok());
    let (resident, shared) = (pages.next()??, pages.next()??);
    Some(resident.saturating_sub(shared) * PAGE)
}

/// The limit of the control group the process was started in, version 2 or 1, as a container sees it.
fn of_control_group(root: &Path) -> Option<u64> {
    /// Version 1 writes "no limit" as a number beyond any machine.
    const NONE: u64 = 1 << 60;
    let read = |file: &str| fs::read_to_string(root.join(file)).ok()?.trim().parse::<u64>().ok();
    read("memory.max").or_else(|| read("memory/memory.limit_in_bytes")).filter(|limit| *limit < NONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_found_where_containers_have_it() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(of_control_group(folder.path()), None);
        fs::write(folder.path().join("memory.max"), "max\n").unwrap();
        assert_eq!(of_control_group(folder.path()), None);
        fs::write(folder.path().join("memory.max"), "536870912\n").unwrap();
        assert_eq!(of_control_group(folder.path()), Some(512 << 20));
        fs::remove_file(folder.path().join("memory.max")).unwrap();
        fs::create_dir(folder.path().join("memory")).unwrap();
        fs::write(folder.path().join("memory/memory.limit_in_bytes"), "9223372036854771712\n").unwrap();
        assert_eq!(of_control_group(folder.path()), None);
    }

    #[test]
    fn the_process_is_seen_against_its_limit() {
        assert_eq!(resident("5000 1000 200 30 0 400 0\n"), Some(800 * 4096));
        assert_eq!(resident("5000"), None);
        assert!(is_full(95, 100) && !is_full(94, 100));
        assert!(MemoryLimit::new(Some(1)).unwrap().is_short());
        assert!(!MemoryLimit::new(Some(1 << 50)).unwrap().is_short());
        assert!(MemoryLimit::new(Some(0)).is_none());
    }
}
