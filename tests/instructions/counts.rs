//! What callgrind has counted so far in a process.

use super::target::Target;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Work of a process, or of one request.
#[derive(Clone, Copy, Default, Debug, Serialize, Deserialize)]
pub struct Counts {
    pub instructions: u64,
    pub allocations: u64,
}

impl Counts {
    pub fn since(self, before: Self) -> Self {
        Self {
            instructions: self.instructions - before.instructions,
            allocations: self.allocations - before.allocations,
        }
    }

    pub fn per(self, requests: usize) -> Self {
        let requests = requests as u64;
        Self { instructions: self.instructions / requests, allocations: self.allocations / requests }
    }

    pub fn exceeds(self, bound: Self, percent: u64) -> bool {
        let over = |counted: u64, bound: u64| counted * 100 > bound * (100 + percent);
        over(self.instructions, bound.instructions) || over(self.allocations, bound.allocations)
    }
}

impl Target {
    /// Everything since the start. callgrind counts anew after each dump, so the dumps are added up.
    pub fn counts(&self) -> Counts {
        let pid = self.gateway.id().to_string();
        let dumped = Command::new("callgrind_control").args(["-d", &pid]).output().unwrap();
        assert!(dumped.status.success(), "callgrind_control: {}", String::from_utf8_lossy(&dumped.stderr));
        let prefix = format!("callgrind.out.{pid}.");
        let mut sum = Counts::default();
        for file in fs::read_dir(self.folder.path()).unwrap() {
            let path = file.unwrap().path();
            if path.file_name().unwrap().to_string_lossy().starts_with(&prefix) {
                let dump = read(&path);
                sum.instructions += dump.instructions;
                sum.allocations += dump.allocations;
            }
        }
        sum
    }
}

/// One dump: the sum of its instructions, and how often the allocator was called.
fn read(path: &Path) -> Counts {
    let text = fs::read_to_string(path).unwrap();
    let mut counts = Counts::default();
    let mut names = std::collections::HashMap::new();
    let mut callee = "";
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("cfn=").or_else(|| line.strip_prefix("fn=")) {
            let (id, name) = name.split_once(' ').unwrap_or((name, ""));
            if !name.is_empty() {
                names.insert(id, name);
            }
            callee = names.get(id).copied().unwrap_or_default();
        } else if let Some(calls) = line.strip_prefix("calls=") {
            if is_allocation(callee) {
                let calls = calls.split_whitespace().next().unwrap_or_default();
                counts.allocations += calls.parse::<u64>().unwrap_or(0);
            }
        } else if let Some(sum) = line.strip_prefix("summary: ").or_else(|| line.strip_prefix("totals: ")) {
            counts.instructions = counts.instructions.max(sum.trim().parse().unwrap_or(0));
        }
    }
    assert!(counts.instructions > 0, "{} has no sum", path.display());
    counts
}

/// The entry points of mimalloc that Rust's global allocator calls.
fn is_allocation(function: &str) -> bool {
    ["mi_malloc_aligned", "mi_zalloc_aligned", "mi_realloc_aligned"].contains(&function)
}
