//! What was computed once and may be used again: a tree of whole pages by their tokens.
//!
//! A node is a page; its place in the tree says which tokens stand before it. There is one tree for each [`Space`], the
//! adapter's generation and the tenant: keys and values depend on the adapter, and what one tenant asked must not be felt
//! by another, not even as speed. Tokens are compared, never hashes of them. The tree holds each of its pages once;
//! a page that nobody else holds is given back when room is needed, least recently used first, leaves before their parents.

use super::pages::{PAGE, Page, Pages};
use std::collections::HashMap;

/// Whose keys and values these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Space {
    /// of the adapter; 0: the base alone
    pub(crate) generation: u64,
    pub(crate) tenant: u64,
}

/// A node, and the time of its making: a node that is gone is never taken for one that came into its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NodeId {
    index: usize,
    made: u64,
}

type Children = HashMap<Box<[u32]>, NodeId>;

#[derive(Debug)]
struct Node {
    space: Space,
    parent: Option<NodeId>,
    tokens: Box<[u32]>,
    page: Page,
    children: Children,
    made: u64,
    used: u64,
}

/// The trees of all spaces.
#[derive(Debug, Default)]
pub(crate) struct Radix {
    roots: HashMap<Space, Children>,
    nodes: Vec<Option<Node>>,
    empty: Vec<usize>,
    clock: u64,
    len: usize,
}

impl Radix {
    fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id.index)?.as_ref().filter(|n| n.made == id.made)
    }

    fn node_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        self.nodes.get_mut(id.index)?.as_mut().filter(|n| n.made == id.made)
    }

    fn children(&self, space: Space, at: Option<NodeId>) -> Option<&Children> {
        match at {
            Some(id) => self.node(id).filter(|n| n.space == space).map(|n| &n.children),
            None => self.roots.get(&space),
        }
    }

    /// Pages in all trees.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The page of the next [`PAGE`] tokens after `at` (`None`: from the beginning), now used.
    pub(crate) fn next(
        &mut self,
        space: Space,
        at: Option<NodeId>,
        tokens: &[u32],
    ) -> Option<(NodeId, Page)> {
        let id = *self.children(space, at)?.get(tokens)?;
        self.clock += 1;
        let clock = self.clock;
        let node = self.node_mut(id)?;
        node.used = clock;
        Some((id, node.page))
    }

    /// How many pages of `tokens` are there, from the beginning; nothing is used by asking.
    pub(crate) fn depth(&self, space: Space, tokens: &[u32]) -> usize {
        let (mut at, mut depth) = (None, 0);
        for chunk in tokens.chunks_exact(PAGE) {
            let Some(&id) = self.children(space, at).and_then(|c| c.get(chunk)) else { break };
            (at, depth) = (Some(id), depth + 1);
        }
        depth
    }

    /// Puts a computed page after `at` and holds it. Where the tree has these tokens already, gives that page: both have
    /// the same bits. `None` where `at` is gone.
    pub(crate) fn insert(
        &mut self,
        pages: &mut Pages,
        space: Space,
        at: Option<NodeId>,
        tokens: &[u32],
        page: Page,
    ) -> Option<(NodeId, Page)> {
        debug_assert_eq!(tokens.len(), PAGE);
        if let Some(found) = self.next(space, at, tokens) {
            return Some(found);
        }
        if at.is_some() {
            self.children(space, at)?;
        }
        self.clock += 1;
        let index = self.empty.pop().unwrap_or(self.nodes.len());
        let id = NodeId { index, made: self.clock };
        let tokens: Box<[u32]> = tokens.into();
        let node = Node {
            space,
            parent: at,
            tokens: tokens.clone(),
            page,
            children: Children::new(),
            made: self.clock,
            used: self.clock,
        };
        match index < self.nodes.len() {
            true => self.nodes[index] = Some(node),
            false => self.nodes.push(Some(node)),
        }
        let children = match at {
            Some(parent) => &mut self.node_mut(parent)?.children,
            None => self.roots.entry(space).or_default(),
        };
        children.insert(tokens, id);
        pages.hold(page);
        self.len += 1;
        Some((id, page))
    }

    /// Pages that [`Radix::evict`] can give back. Who holds a page holds its ancestors too, so below a page that only the
    /// tree holds there are only such pages.
    pub(crate) fn evictable(&self, pages: &Pages) -> usize {
        self.nodes.iter().flatten().filter(|n| pages.holders(n.page) == 1).count()
    }

    /// Gives back the least recently used page that only the tree holds; `false` where there is none.
    pub(crate) fn evict(&mut self, pages: &mut Pages) -> bool {
        let oldest = (self.nodes.iter().enumerate())
            .filter_map(|(i, n)| Some((i, n.as_ref()?)))
            .filter(|(_, n)| n.children.is_empty() && pages.holders(n.page) == 1)
            .min_by_key(|(_, n)| n.used);
        match oldest {
            Some((index, _)) => {
                self.remove(index, pages);
                true
            }
            None => false,
        }
    }

    fn remove(&mut self, index: usize, pages: &mut Pages) {
        let Some(node) = self.nodes[index].take() else { return };
        let empty = match node.parent {
            Some(parent) => {
                if let Some(parent) = self.node_mut(parent) {
                    parent.children.remove(&node.tokens);
                }
                false
            }
            None => self.roots.get_mut(&node.space).is_some_and(|root| {
                root.remove(&node.tokens);
                root.is_empty()
            }),
        };
        if empty {
            self.roots.remove(&node.space);
        }
        self.empty.push(index);
        self.len -= 1;
        pages.release(node.page);
    }

    /// Drops all that `which` says; sequences that still use such pages keep them.
    pub(crate) fn forget(&mut self, pages: &mut Pages, which: impl Fn(Space) -> bool) {
        for index in 0..self.nodes.len() {
            if self.nodes[index].as_ref().is_some_and(|n| which(n.space)) {
                self.remove(index, pages);
            }
        }
        self.roots.retain(|&space, _| !which(space));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Space = Space { generation: 0, tenant: 0 };

    fn chunk(n: u32) -> Vec<u32> {
        vec![n; PAGE]
    }

    #[test]
    fn spaces_never_meet() {
        let (mut pages, mut radix) = (Pages::new(8), Radix::default());
        let page = pages.take().unwrap();
        radix.insert(&mut pages, BASE, None, &chunk(1), page).unwrap();
        for other in [Space { generation: 1, tenant: 0 }, Space { generation: 0, tenant: 1 }] {
            assert_eq!(radix.next(other, None, &chunk(1)), None);
        }
        let (node, found) = radix.next(BASE, None, &chunk(1)).unwrap();
        assert_eq!(found, page);
        // a node of one space is no place in another
        let more = pages.take().unwrap();
        let other = Space { generation: 1, tenant: 0 };
        assert_eq!(radix.insert(&mut pages, other, Some(node), &chunk(2), more), None);
    }

    #[test]
    fn the_same_tokens_elsewhere_are_another_page() {
        let (mut pages, mut radix) = (Pages::new(8), Radix::default());
        let [a, b, c] = [(); 3].map(|_| pages.take().unwrap());
        let (first, _) = radix.insert(&mut pages, BASE, None, &chunk(1), a).unwrap();
        let (below, _) = radix.insert(&mut pages, BASE, Some(first), &chunk(1), b).unwrap();
        assert_ne!(first, below);
        // a second computation of the same place takes over the first one's page
        assert_eq!(radix.insert(&mut pages, BASE, Some(first), &chunk(1), c), Some((below, b)));
        assert_eq!(radix.len(), 2);
    }

    #[test]
    fn the_oldest_leaf_that_nobody_uses_goes_first() {
        let (mut pages, mut radix) = (Pages::new(4), Radix::default());
        let taken: Vec<Page> = (0..4).map(|_| pages.take().unwrap()).collect();
        let (root, _) = radix.insert(&mut pages, BASE, None, &chunk(0), taken[0]).unwrap();
        for (i, &page) in taken.iter().enumerate().skip(1) {
            radix.insert(&mut pages, BASE, Some(root), &chunk(i as u32), page).unwrap();
        }
        assert!(!radix.evict(&mut pages), "all are held by others");
        [0, 1, 3].into_iter().for_each(|i| pages.release(taken[i]));
        radix.next(BASE, Some(root), &chunk(1)).unwrap();
        assert_eq!(radix.evictable(&pages), 3);
        assert!(radix.evict(&mut pages));
        assert_eq!(radix.next(BASE, Some(root), &chunk(3)), None, "the one that was not used again");
        assert!(radix.evict(&mut pages));
        assert!(!radix.evict(&mut pages), "the root has a child that is in use");
        pages.release(taken[2]);
        assert!(radix.evict(&mut pages) && radix.evict(&mut pages));
        assert_eq!((radix.len(), pages.free()), (0, 4));
        assert!(radix.roots.is_empty());
    }

    #[test]
    fn a_place_that_is_gone_takes_no_more() {
        let (mut pages, mut radix) = (Pages::new(4), Radix::default());
        let [a, b] = [(); 2].map(|_| pages.take().unwrap());
        let (node, _) = radix.insert(&mut pages, BASE, None, &chunk(1), a).unwrap();
        radix.forget(&mut pages, |s| s.generation == 0);
        let (again, _) = radix.insert(&mut pages, BASE, None, &chunk(5), b).unwrap();
        assert_eq!(again.index, node.index, "the place is used again");
        assert_eq!(radix.insert(&mut pages, BASE, Some(node), &chunk(2), a), None);
        assert_eq!(pages.holders(a), 1);
    }
}
