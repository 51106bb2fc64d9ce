//! Reading lists: pages, items, and walks over them. Sends nothing.

pub(crate) mod items;
pub(crate) mod listed;
pub mod paging;
pub mod walks;
