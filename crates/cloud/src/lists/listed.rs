//! Items of lists, whole ones and those that cannot be read.

/// An item of a list.
pub trait Listed {
    /// Unique in the list.
    fn id(&self) -> &str;
    /// The text of its creation time, by which the list is ordered; `None` if the answer has none.
    fn created(&self) -> Option<&str> {
        None
    }
    /// Marks that some of its fields are unreadable and missing. Has no effect on items whose missing fields are never
    /// interpreted.
    fn mark_partial(&mut self) {}
}

/// An item that cannot be read completely.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Unreadable {
    /// With an id, the item is in `items` without its unreadable fields. Without an id it is not there, and could be
    /// any item.
    pub id: Option<String>,
    /// Which fields, and why; bounded, one line.
    pub problem: String,
}
