"""The whole product against a real sshd and a real container."""
