//! The contract suite that every driver passes.
