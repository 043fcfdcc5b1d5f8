"""What people and agents write and read: documents, and the shapes that travel over HTTP."""
