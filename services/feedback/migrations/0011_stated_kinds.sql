-- What kind of query a reviewer says an answer's question is: '' where they do not say. A name, no word of anybody's.
ALTER TABLE review_labels ADD COLUMN kind text NOT NULL DEFAULT '' CHECK (kind ~ '^[a-z0-9_-]{0,64}$');
