//! In which order the rows are written, so that no constraint is hurt on the way. Pure.
//!
//! A unique key must be free before another row takes it. A row that is referred to must be there before
//! the one that refers to it, and must go after it. Constraints that are deferred ask for nothing. Where
//! the rows of a circle ask each other for the first turn,
//!
//! - foreign keys alone are content with one statement that writes all of them, as they are checked at
//!   its end;
//! - unique keys are not, as they are checked at each row: there one row has [stepped aside] before, or,
//!   where it cannot, all go back through the steps that they came by, which were in order once.
//!
//! [stepped aside]: super::park

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;

use super::catalog::Catalog;
use super::facts::moved;
use super::image::Key;
use super::judge::Write;
use super::plan::Action;

/// Writes that go together, by their places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Writes of one kind to one table, which do not depend on each other.
    Batch(Vec<usize>),
    /// A circle of foreign keys: in one statement.
    Together(Vec<usize>),
    /// A circle of unique keys: back through the steps of their threads.
    Unfold(Vec<usize>),
}

impl Stage {
    pub(super) fn writes(&self) -> &[usize] {
        match self {
            Self::Batch(places) | Self::Together(places) | Self::Unfold(places) => places,
        }
    }
}

/// The order of `writes`.
pub(super) fn order(writes: &[Write], catalog: &Catalog) -> Vec<Stage> {
    let graph = Graph::new(writes, catalog);
    let components = graph.components();
    let mut component_of = vec![0; writes.len()];
    for (number, component) in components.iter().enumerate() {
        for place in component {
            if let Some(slot) = component_of.get_mut(*place) {
                *slot = number;
            }
        }
    }
    // How many components each one still waits for, and who waits for it.
    let mut waits = vec![0_usize; components.len()];
    let mut next: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); components.len()];
    for (from, to) in graph.edges() {
        let pair = (component_of.get(from), component_of.get(to));
        if let (Some(from), Some(to)) = pair
            && from != to
            && next.get_mut(*from).is_some_and(|next| next.insert(*to))
            && let Some(waits) = waits.get_mut(*to)
        {
            *waits += 1;
        }
    }
    // Those that are free to go, by what they are: what goes makes room, what comes needs it.
    let mut ready: BTreeMap<(u8, usize), Vec<usize>> = BTreeMap::new();
    let rank = |component: usize| {
        let members = components.get(component).map_or(&[][..], Vec::as_slice);
        match members {
            [place] => writes.get(*place).map_or((3, 0), |write| {
                let rank = match write.action {
                    Action::Delete => 0,
                    Action::Update => 1,
                    Action::Insert => 2,
                };
                (rank, write.table)
            }),
            _ => (3, component),
        }
    };
    for (component, waits) in waits.iter().enumerate() {
        if *waits == 0 {
            ready.entry(rank(component)).or_default().push(component);
        }
    }
    let mut stages = Vec::new();
    while let Some((_, batch)) = ready.pop_first() {
        let members = |component: &usize| components.get(*component).cloned().unwrap_or_default();
        let places: Vec<usize> = batch.iter().flat_map(members).collect();
        stages.push(match batch.as_slice() {
            [component] if places.len() > 1 && !graph.unique_edges(&places).is_empty() => {
                Stage::Unfold(places)
            }
            [_] if places.len() > 1 => Stage::Together(places),
            _ => Stage::Batch(places),
        });
        for component in batch {
            for waiting in next.get(component).into_iter().flatten() {
                if let Some(waits) = waits.get_mut(*waiting) {
                    *waits -= 1;
                    if *waits == 0 {
                        ready.entry(rank(*waiting)).or_default().push(*waiting);
                    }
                }
            }
        }
    }
    stages
}

/// The circles of unique keys. Of each, the rows that hold a key which another row of it is to get, and
/// the place of the unique index.
pub(super) fn circles(writes: &[Write], catalog: &Catalog) -> Vec<Vec<(usize, usize)>> {
    let graph = Graph::new(writes, catalog);
    let components = graph.components().into_iter();
    let circles = components.map(|members| graph.unique_edges(&members));
    circles.filter(|circle| !circle.is_empty()).collect()
}

/// Who has to be written before whom, and which unique index asks for it, if it is one.
struct Graph {
    after: Vec<BTreeMap<usize, Option<usize>>>,
}

impl Graph {
    fn new(writes: &[Write], catalog: &Catalog) -> Self {
        let mut graph = Self {
            after: vec![BTreeMap::new(); writes.len()],
        };
        graph.unique_keys(writes, catalog);
        graph.foreign_keys(writes, catalog);
        graph
    }

    fn unique_keys(&mut self, writes: &[Write], catalog: &Catalog) {
        let mut leaves = HashMap::new();
        let mut comes = Vec::new();
        for (place, write) in writes.iter().enumerate() {
            let table = catalog.tables.get(write.table);
            let uniques = table.into_iter().flat_map(|table| &table.uniques);
            for (number, unique) in uniques.enumerate().filter(|(_, unique)| !unique.deferrable) {
                let of = |key: Key| (write.table, number, key);
                leaves.extend(left(write, &unique.columns).map(|key| (of(key), place)));
                comes.extend(taken(write, &unique.columns).map(|key| (of(key), place)));
            }
        }
        for (key, place) in comes {
            if let Some(before) = leaves.get(&key) {
                self.edge(*before, place, Some(key.1));
            }
        }
    }

    fn foreign_keys(&mut self, writes: &[Write], catalog: &Catalog) {
        for fk in &catalog.foreign_keys {
            let is = |write: &Write, end| {
                let table = catalog.tables.get(write.table);
                table.is_some_and(|table| table.is(end))
            };
            let (mut parents_come, mut parents_leave) = (HashMap::new(), HashMap::new());
            for (place, write) in writes.iter().enumerate().filter(|(_, w)| is(w, &fk.parent)) {
                parents_come.extend(taken(write, &fk.parent.columns).map(|key| (key, place)));
                parents_leave.extend(left(write, &fk.parent.columns).map(|key| (key, place)));
            }
            for (place, write) in writes.iter().enumerate().filter(|(_, w)| is(w, &fk.child)) {
                let parent = find(&parents_come, taken(write, &fk.child.columns));
                if let Some(parent) = parent.filter(|_| !fk.deferrable) {
                    self.edge(parent, place, None);
                }
                let parent = find(&parents_leave, left(write, &fk.child.columns));
                if let Some(parent) = parent.filter(|_| !fk.parent_may_go_first()) {
                    self.edge(place, parent, None);
                }
            }
        }
    }

    fn edge(&mut self, before: usize, after: usize, unique: Option<usize>) {
        if before != after
            && let Some(edges) = self.after.get_mut(before)
        {
            let edge = edges.entry(after).or_default();
            *edge = edge.or(unique);
        }
    }

    fn edges(&self) -> impl Iterator<Item = (usize, usize)> {
        let of = |(from, edges): (usize, &BTreeMap<usize, Option<usize>>)| {
            edges.keys().map(|to| (from, *to)).collect::<Vec<_>>()
        };
        self.after.iter().enumerate().flat_map(of)
    }

    /// The edges between the members that a unique index asks for: where they begin, and which index.
    fn unique_edges(&self, members: &[usize]) -> Vec<(usize, usize)> {
        let within: BTreeSet<_> = members.iter().collect();
        let mut found = Vec::new();
        for place in members {
            let edges = self.after.get(*place).into_iter().flatten();
            let edges = edges.filter(|(to, _)| within.contains(to));
            found.extend(edges.filter_map(|(_, unique)| Some((*place, (*unique)?))));
        }
        found
    }

    /// The circles, and each write outside of one by itself: Kosaraju's algorithm, without recursion, as
    /// a chain can be as long as the revert.
    fn components(&self) -> Vec<Vec<usize>> {
        let mut reversed = vec![Vec::new(); self.after.len()];
        for (from, to) in self.edges() {
            if let Some(edges) = reversed.get_mut(to) {
                edges.push(from);
            }
        }
        let forward: Vec<Vec<usize>> = self
            .after
            .iter()
            .map(|edges| edges.keys().copied().collect())
            .collect();
        let mut seen = vec![false; forward.len()];
        let mut finished = Vec::with_capacity(forward.len());
        for start in 0..forward.len() {
            finished.extend(walk(start, &forward, &mut seen));
        }
        let mut seen = vec![false; forward.len()];
        finished
            .into_iter()
            .rev()
            .map(|start| walk(start, &reversed, &mut seen))
            .filter(|component| !component.is_empty())
            .map(|mut component| {
                component.sort_unstable();
                component
            })
            .collect()
    }
}

/// What is reached from `start` and was not seen before, each after all that is reached from it.
fn walk(start: usize, edges: &[Vec<usize>], seen: &mut [bool]) -> Vec<usize> {
    let mut visit = |place: usize| {
        let slot = seen.get_mut(place);
        slot.is_some_and(|seen| !std::mem::replace(seen, true))
    };
    let mut finished = Vec::new();
    if !visit(start) {
        return finished;
    }
    let mut path = vec![(start, 0)];
    while let Some((place, edge)) = path.last_mut() {
        let next = edges.get(*place).and_then(|edges| edges.get(*edge));
        *edge += 1;
        match next {
            Some(next) if visit(*next) => path.push((*next, 0)),
            Some(_) => {}
            None => {
                finished.push(*place);
                path.pop();
            }
        }
    }
    finished
}

/// The key that the row gives up.
fn left(write: &Write, columns: &[impl AsRef<str>]) -> Option<Key> {
    moved(write.before(), write.target.as_ref(), columns)
}

/// The key that it gets.
fn taken(write: &Write, columns: &[impl AsRef<str>]) -> Option<Key> {
    moved(write.target.as_ref(), write.before(), columns)
}

fn find<K: Hash + Eq>(map: &HashMap<K, usize>, key: Option<K>) -> Option<usize> {
    map.get(&key?).copied()
}
