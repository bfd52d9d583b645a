"""Train an encoder: batches, augmentation, loss, optimizer, and the networks that a method builds on."""
