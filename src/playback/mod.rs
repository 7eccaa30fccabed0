//! What a player may hold on to: capabilities and rewritten playlists.
