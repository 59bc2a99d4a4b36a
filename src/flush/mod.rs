//! From sealed buffers to blocks that the manifest names.
//!
//! | file | subject |
//! |---|---|
//! | `plan` | what the checkpoint becomes, how points are cut into blocks: values in, values out |
//! | `worker` | encoding and writing blocks in parallel |

pub(crate) mod plan;
mod worker;

pub(crate) use worker::write_blocks;
