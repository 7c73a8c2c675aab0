//! The sources as the compiler sees them: parsed, without unit tests, every path resolved to the module it names.

use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Item, UseTree};

/// One file of `src`.
pub struct SourceFile {
    /// Path below `src`, such as `engine/queue.rs`.
    pub path: String,
    /// The module that the file is, such as `["engine", "queue"]`; empty for `lib.rs`.
    pub module: Vec<String>,
    /// Every path that product code (no `#[cfg(test)]`) names.
    pub paths: Vec<NamedPath>,
    /// Every function of product code, with its length in lines.
    pub functions: Vec<(String, usize)>,
    /// `pub use` of items of other modules: (name here, path there).
    pub reexports: Vec<(String, Vec<String>)>,
    /// Where an attribute allows `unsafe` again.
    pub allows_unsafe: bool,
}

/// A path in code.
#[derive(Clone)]
pub struct NamedPath {
    /// Segments as written, `use` groups unfolded; `*` stands for a glob.
    pub segments: Vec<String>,
    /// Line of the file, from 1.
    pub line: usize,
    /// It only hands a name on (`pub use`).
    pub is_reexport: bool,
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every `.rs` file below `folder`.
pub fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// The product: every file of `src` that is not a file of unit tests.
pub fn product() -> Vec<SourceFile> {
    let src = root().join("src");
    rust_files(&src)
        .iter()
        .map(|file| {
            let path = file.strip_prefix(&src).unwrap().to_str().unwrap();
            parse(path, &fs::read_to_string(file).unwrap())
        })
        .filter(|file| !file.module.iter().any(|part| part == "tests"))
        .collect()
}

/// Parses one file.
pub fn parse(path: &str, text: &str) -> SourceFile {
    let syntax = syn::parse_file(text).unwrap_or_else(|error| panic!("src/{path}: {error}"));
    let mut module: Vec<String> = path
        .trim_end_matches(".rs")
        .split('/')
        .map(str::to_owned)
        .collect();
    if matches!(
        module.last().map(String::as_str),
        Some("mod" | "lib" | "main")
    ) {
        module.pop();
    }
    let mut reader = Reader::default();
    reader.attributes(&syntax.attrs);
    if !is_test_only(&syntax.attrs) {
        reader.visit_file(&syntax);
    }
    SourceFile {
        path: path.to_owned(),
        module,
        paths: reader.paths,
        functions: reader.functions,
        reexports: reader.reexports,
        allows_unsafe: reader.allows_unsafe,
    }
}

#[derive(Default)]
struct Reader {
    paths: Vec<NamedPath>,
    functions: Vec<(String, usize)>,
    reexports: Vec<(String, Vec<String>)>,
    allows_unsafe: bool,
}

impl Reader {
    fn attributes(&mut self, attributes: &[Attribute]) {
        self.allows_unsafe |= attributes.iter().any(|attribute| {
            let words = words(attribute.meta.clone());
            (words.contains("allow") || words.contains("expect")) && words.contains("unsafe_code")
        });
    }

    fn use_tree(&mut self, tree: &UseTree, before: &[String], is_reexport: bool) {
        let mut segments = before.to_vec();
        match tree {
            UseTree::Path(path) => {
                segments.push(path.ident.to_string());
                self.use_tree(&path.tree, &segments, is_reexport);
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.use_tree(tree, &segments, is_reexport);
                }
            }
            UseTree::Name(name) => {
                self.used(segments, name.ident.to_string(), None, tree, is_reexport)
            }
            UseTree::Rename(name) => {
                self.used(
                    segments,
                    name.ident.to_string(),
                    Some(name.rename.to_string()),
                    tree,
                    is_reexport,
                );
            }
            UseTree::Glob(_) => self.used(segments, "*".to_owned(), None, tree, is_reexport),
        }
    }

    fn used(
        &mut self,
        mut segments: Vec<String>,
        name: String,
        renamed: Option<String>,
        at: &UseTree,
        is_reexport: bool,
    ) {
        if name != "self" {
            segments.push(name.clone());
        }
        if is_reexport {
            self.reexports
                .push((renamed.unwrap_or(name), segments.clone()));
        }
        let line = at.span().start().line;
        self.paths.push(NamedPath {
            segments,
            line,
            is_reexport,
        });
    }

    /// Paths among the tokens of a macro call, which the parser leaves as they are.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut line = 0;
        let mut colons = 0;
        let flush = |path: &mut Vec<String>, line: usize, paths: &mut Vec<NamedPath>| {
            let segments = std::mem::take(path);
            if segments.len() > 1 {
                paths.push(NamedPath {
                    segments,
                    line,
                    is_reexport: false,
                });
            }
        };
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        flush(&mut path, line, &mut self.paths);
                        line = ident.span().start().line;
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Group(group) => {
                    flush(&mut path, line, &mut self.paths);
                    colons = 0;
                    self.tokens(group.stream());
                }
                _ => {
                    flush(&mut path, line, &mut self.paths);
                    colons = 0;
                }
            }
        }
        flush(&mut path, line, &mut self.paths);
    }

    fn function(&mut self, name: &syn::Ident, first: usize, last: usize) {
        self.functions.push((name.to_string(), last + 1 - first));
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test_only(attributes_of(item)) {
            self.attributes(attributes_of(item));
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let is_reexport = !matches!(item.vis, syn::Visibility::Inherited);
        self.use_tree(&item.tree, &[], is_reexport);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect();
        if segments.len() > 1 {
            let line = path.span().start().line;
            self.paths.push(NamedPath {
                segments,
                line,
                is_reexport: false,
            });
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        if call.path.segments.len() == 1 {
            let name = format!("{}!", call.path.segments[0].ident);
            let line = call.path.span().start().line;
            self.paths.push(NamedPath {
                segments: vec![name],
                line,
                is_reexport: false,
            });
        }
        self.tokens(call.tokens.clone());
        visit::visit_macro(self, call);
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(
            &item.sig.ident,
            item.sig.span().start().line,
            item.block.span().end().line,
        );
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !is_test_only(&item.attrs) {
            self.function(
                &item.sig.ident,
                item.sig.span().start().line,
                item.block.span().end().line,
            );
            visit::visit_impl_item_fn(self, item);
        }
    }
}

/// The words of a piece of syntax, each between blanks.
fn words(meta: syn::Meta) -> String {
    match meta {
        syn::Meta::List(list) => format!(
            "{} {}",
            list.path
                .segments
                .iter()
                .map(|segment| segment.ident.to_string())
                .collect::<String>(),
            list.tokens
        ),
        _ => String::new(),
    }
}

/// `#[cfg(test)]`, alone or as one condition of `all(…)`.
fn is_test_only(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::List(list) if list.path.is_ident("cfg") => {
            let tokens: Vec<TokenTree> = list.tokens.clone().into_iter().collect();
            match &tokens[..] {
                [TokenTree::Ident(word)] => word == "test",
                [TokenTree::Ident(word), TokenTree::Group(group)] if word == "all" => group
                    .stream()
                    .into_iter()
                    .any(|token| matches!(token, TokenTree::Ident(word) if word == "test")),
                _ => false,
            }
        }
        _ => false,
    })
}

fn attributes_of(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
