"""The recipe of the built-in checkpoint: `recipe` is its command, `card` the model card that it writes.

Its steps, in order: `gold` splits the labelled pairs, `teacher` fine-tunes a large model, `unlabelled` makes more
pairs, `soft_labels` stores the teacher's answers, `student` distils them, `longer` makes the premises of its last
training longer, `head` fits its classifier to held-out pairs, and `measuring` calibrates and evaluates.
"""
