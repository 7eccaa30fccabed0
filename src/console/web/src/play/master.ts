// Reads what the page needs of KVS's playlists (docs/KVS.md 5), before hls.js does: codecs, to say why something cannot play;
// the picture's own playlist, since a tile needs no sound; and where in a recording to begin. Pure.

export interface Master {
  readonly codecs: string; readonly width: number; readonly height: number; readonly frameRate: number;
  /** The playlist of the pictures, absolute. */
  readonly video: string;
  readonly hasSound: boolean;
}

/** Reads a master playlist found at `url`; nothing if it has no variant. */
export function readMaster(playlist: string, url: string): Master | undefined {
  const lines = playlist.split(/\r?\n/);
  const at = lines.findIndex((line) => line.startsWith('#EXT-X-STREAM-INF:'));
  const uri = lines.slice(at + 1).find((line) => line && !line.startsWith('#'));
  if (at < 0 || !uri) return undefined;
  const attributes = readAttributes((lines[at] ?? '').slice('#EXT-X-STREAM-INF:'.length));
  const [width = 0, height = 0] = (attributes['RESOLUTION'] ?? '').split('x').map(Number);
  const codecs = attributes['CODECS'] ?? '';
  return {
    codecs, width, height, frameRate: Number(attributes['FRAME-RATE'] ?? 0), video: new URL(uri, url).href,
    hasSound: /mp4a|opus|ac-3/.test(codecs) || attributes['AUDIO'] !== undefined,
  };
}

/** Reads `A=1,B="x,y"`. */
export function readAttributes(list: string): Record<string, string> {
  const found: Record<string, string> = {};
  for (const [, key = '', quoted, plain] of list.matchAll(/([A-Z0-9-]+)=(?:"([^"]*)"|([^,]*))/g)) found[key] = quoted ?? plain ?? '';
  return found;
}

/** One fragment of a playlist: when it was (ms, NaN if the playlist does not say) and where it plays (seconds). */
export interface Piece { readonly wall: number; readonly media: number; readonly length: number }

/** The pieces of a media playlist. */
export function readPieces(playlist: string): Piece[] {
  const pieces: Piece[] = [];
  let [wall, length, media] = [NaN, 0, 0];
  for (const line of playlist.split(/\r?\n/)) {
    if (line.startsWith('#EXT-X-PROGRAM-DATE-TIME:')) wall = Date.parse(line.slice(25));
    else if (line.startsWith('#EXTINF:')) length = parseFloat(line.slice(8));
    else if (line && !line.startsWith('#')) {
      pieces.push({ wall, media, length });
      media += length;
      wall += length * 1000;
    }
  }
  return pieces;
}

/** Where in the media a time lies, in seconds; the next piece's beginning if nothing was recorded then; nothing after the end. */
export function mediaAt(pieces: readonly Piece[], wall: number): number | undefined {
  const piece = pieces.find((piece) => wall < piece.wall + piece.length * 1000);
  return piece && piece.media + Math.max(0, wall - piece.wall) / 1000;
}

/** When a place in the media was, in ms; nothing before the first piece that says. */
export function wallAt(pieces: readonly Piece[], media: number): number | undefined {
  const piece = pieces.findLast((piece) => piece.media <= media + 0.001) ?? pieces[0];
  if (!piece || Number.isNaN(piece.wall)) return undefined;
  return piece.wall + Math.min(Math.max(0, media - piece.media), piece.length + 0.5) * 1000;
}

/** The same playlist with the place to begin written in (RFC 8216 4.3.5.2), so that a player's first request is the right one. */
export function beginAt(playlist: string, wall: number): string {
  if (!playlist.includes('#EXTINF')) return playlist;
  const media = mediaAt(readPieces(playlist), wall);
  if (media === undefined || media <= 0) return playlist;
  return playlist.replace('#EXTM3U', `#EXTM3U\n#EXT-X-START:TIME-OFFSET=${media.toFixed(3)},PRECISE=YES`);
}
