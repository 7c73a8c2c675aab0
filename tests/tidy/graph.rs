//! Which file uses which: paths of `source.rs` resolved through modules and re-exports.

use std::collections::{BTreeMap, BTreeSet};

use super::source::SourceFile;

/// Uses between files.
pub struct Graph<'a> {
    files: &'a [SourceFile],
    /// For each file the files that it uses, and a name that it takes from there.
    uses: Vec<BTreeMap<usize, String>>,
}

impl<'a> Graph<'a> {
    pub fn new(files: &'a [SourceFile]) -> Graph<'a> {
        let mut uses = Vec::new();
        for (index, file) in files.iter().enumerate() {
            let mut used = BTreeMap::new();
            for path in file.paths.iter().filter(|path| !path.is_reexport) {
                let Some(full) = absolute(files, file, &path.segments) else {
                    continue;
                };
                if let Some(target) =
                    defining_file(files, &full, 0).filter(|&target| target != index)
                {
                    used.entry(target).or_insert_with(|| full.join("::"));
                }
            }
            uses.push(used);
        }
        Graph { files, uses }
    }

    /// Groups of files that use each other in a circle, each with the uses that tie it.
    pub fn circles(&self) -> Vec<String> {
        let reach: Vec<BTreeSet<usize>> = (0..self.files.len())
            .map(|start| self.reachable(start))
            .collect();
        let mut told = BTreeSet::new();
        let mut circles = Vec::new();
        for start in 0..self.files.len() {
            let members: BTreeSet<usize> = (0..self.files.len())
                .filter(|&other| reach[start].contains(&other) && reach[other].contains(&start))
                .collect();
            if members.len() > 1 && told.insert(members.clone()) {
                let mut lines = Vec::new();
                for &from in &members {
                    for (to, name) in self.uses[from]
                        .iter()
                        .filter(|(to, _)| members.contains(to))
                    {
                        lines.push(format!(
                            "  {} -> {}: {name}",
                            self.files[from].path, self.files[*to].path
                        ));
                    }
                }
                circles.push(lines.join("\n"));
            }
        }
        circles
    }

    fn reachable(&self, start: usize) -> BTreeSet<usize> {
        let mut seen = BTreeSet::new();
        let mut waiting: Vec<usize> = self.uses[start].keys().copied().collect();
        while let Some(next) = waiting.pop() {
            if seen.insert(next) {
                waiting.extend(self.uses[next].keys());
            }
        }
        seen
    }
}

/// A path of this crate from its root; `None` for a path that leads elsewhere.
pub fn absolute(
    files: &[SourceFile],
    file: &SourceFile,
    segments: &[String],
) -> Option<Vec<String>> {
    let mut module = file.module.clone();
    let mut rest = segments;
    match segments.first()?.as_str() {
        "crate" | "lipsyncd" => {
            module.clear();
            rest = &rest[1..];
        }
        "self" => rest = &rest[1..],
        "super" => {
            while rest.first().is_some_and(|word| word == "super") {
                module.pop();
                rest = &rest[1..];
            }
        }
        first => {
            let mut child = module.clone();
            child.push(first.to_owned());
            file_of(files, &child)?;
        }
    }
    module.extend_from_slice(rest);
    Some(module)
}

fn file_of(files: &[SourceFile], module: &[String]) -> Option<usize> {
    // `main.rs` is a crate of its own and uses this one from outside.
    files
        .iter()
        .position(|file| file.module == module && file.path != "main.rs")
}

/// The file that defines what `path` names, found through `pub use`.
fn defining_file(files: &[SourceFile], path: &[String], depth: usize) -> Option<usize> {
    let (taken, index) = (0..=path.len())
        .rev()
        .find_map(|taken| file_of(files, &path[..taken]).map(|index| (taken, index)))?;
    let Some(item) = path.get(taken).filter(|_| depth < 8) else {
        return Some(index);
    };
    let file = &files[index];
    for (name, target) in &file.reexports {
        if name == item {
            let target = absolute(files, file, target)?;
            return defining_file(files, &target, depth + 1);
        }
    }
    Some(index)
}
