-- A node whose machine vanished is started once more: the steps of its next attempt stand a million positions behind.

ALTER TABLE nodes ADD COLUMN attempt INTEGER NOT NULL DEFAULT 1 CHECK (attempt >= 1);
ALTER TABLE nodes ADD COLUMN lost_on TEXT NOT NULL DEFAULT '';   -- the executor of the attempt before
ALTER TABLE nodes ADD COLUMN lost_why TEXT NOT NULL DEFAULT '';  -- a sentence
