

7
agent-half0.1.0