//! A handful of things by id, in the order of their ids. A list is all that so few need, and a
//! tree costs the page several kilobytes for each type in it.

/// Things by id; equal if they hold equal things under equal ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ById<T>(Vec<(String, T)>);

impl<T> Default for ById<T> {
    fn default() -> ById<T> {
        ById(Vec::new())
    }
}

impl<T> ById<T> {
    /// The thing with this id.
    pub fn get(&self, id: &str) -> Option<&T> {
        self.iter().find(|(known, _)| *known == id).map(|(_, t)| t)
    }

    /// True if there is one.
    pub fn contains(&self, id: &str) -> bool {
        self.get(id).is_some()
    }

    /// Keeps a thing in the place of the one with this id before.
    pub fn insert(&mut self, id: &str, thing: T) {
        self.remove(id);
        let at = self
            .0
            .iter()
            .take_while(|(known, _)| known.as_str() < id)
            .count();
        self.0.insert(at, (id.to_owned(), thing));
    }

    /// Lets the thing with this id go.
    pub fn remove(&mut self, id: &str) {
        self.0.retain(|(known, _)| known != id);
    }

    /// All things, by rising id.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.0.iter().map(|(id, thing)| (id.as_str(), thing))
    }
}

impl<T> std::ops::Index<&str> for ById<T> {
    type Output = T;

    /// The thing with this id, which must be there.
    fn index(&self, id: &str) -> &T {
        self.get(id).expect("asked for only when it is there")
    }
}

#[cfg(test)]
mod tests {
    use super::ById;

    #[test]
    fn the_order_of_insertion_does_not_matter() {
        let (mut a, mut b) = (ById::default(), ById::default());
        for id in ["b", "a", "c", "a"] {
            a.insert(id, id.len());
        }
        for id in ["c", "x", "a", "b"] {
            b.insert(id, 1);
        }
        assert_ne!(a, b);
        b.remove("x");
        assert_eq!(a, b);
        assert_eq!(a.iter().map(|(id, _)| id).collect::<String>(), "abc");
        assert!(a.contains("c") && !a.contains("x") && a["b"] == 1);
    }
}
