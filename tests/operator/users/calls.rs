//! What the cloud is asked about users, counted by the cloud: nothing that need not be.

