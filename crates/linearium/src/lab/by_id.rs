//! A handful of things by id. A list is all that so few need, and a tree costs the page several
//! kilobytes for each type in it.

/// Things by id.
pub(super) struct ById<T>(Vec<(String, T)>);

impl<T> Default for ById<T> {
    fn default() -> ById<T> {
        ById(Vec::new())
    }
}

impl<T> ById<T> {
    /// The thing with this id.
    pub fn get(&self, id: &str) -> Option<&T> {
        self.0
            .iter()
            .find(|(known, _)| known == id)
            .map(|(_, thing)| thing)
    }

    /// True if there is one.
    pub fn contains(&self, id: &str) -> bool {
        self.get(id).is_some()
    }

    /// Keeps a thing in the place of the one with this id before.
    pub fn insert(&mut self, id: &str, thing: T) {
        self.remove(id);
        self.0.push((id.to_owned(), thing));
    }

    /// Lets the thing with this id go.
    pub fn remove(&mut self, id: &str) {
        self.0.retain(|(known, _)| known != id);
    }
}

impl<T> std::ops::Index<&str> for ById<T> {
    type Output = T;

    /// The thing with this id, which must be there.
    fn index(&self, id: &str) -> &T {
        self.get(id).expect("asked for only when it is there")
    }
}
