"""The authors' released network, which is not the paper's."""
