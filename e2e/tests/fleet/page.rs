//! The chaos cookbook as the tests read it.

/// Where its first block says what to look at.
const PAGE: &str = include_str!("../../CHAOS.md");

/// Commands, and what they need first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// The title of the section; empty above the first.
    pub(crate) title: String,
    /// What follows `sh` on the fence: empty, `look` (it changes nothing), `off` (`$node` is the Node of a machine without
    /// power), or the name of a step.
    pub(crate) kind: String,
    /// For a shell.
    pub(crate) commands: String,
}

/// All blocks of the page, in order.
pub(crate) fn blocks() -> Vec<Block> {
    parse(PAGE)
}

/// One block of a section.
pub(crate) fn find(title: &str, kind: &str) -> Block {
    let found = blocks().into_iter().find(|block| block.title == title && block.kind == kind);
    found.unwrap_or_else(|| panic!("CHAOS.md has no block {kind:?} below {title:?}"))
}

fn parse(page: &str) -> Vec<Block> {
    let (mut title, mut blocks, mut open) = (String::new(), Vec::new(), None::<Block>);
    for line in page.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => block.commands.extend([line, "\n"]),
            (None, Some(fence)) => {
                let kind = fence.strip_prefix("sh").unwrap_or(fence).trim().to_owned();
                open = Some(Block { title: title.clone(), kind, commands: String::new() });
            }
            (None, None) => title = line.strip_prefix("## ").map_or(title, str::to_owned),
        }
    }
    blocks
}
