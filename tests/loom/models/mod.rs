//! Models for loom: small questions about what two threads share, asked of the engine's own code.
