"""The training recipe: what a setting is when nobody chose it, and why.

`case` says what is known of images, model and machine; `rules` chooses by it; `presets` are the steps of
augmentation behind each preset's name. None of it imports torch, so that a page can show what a run will do.
"""
