"""HCL2 templates: lexer, parser, evaluator, and the loader that turns them into builds."""
