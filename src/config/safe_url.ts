/** A URL may have a name and a password before its host, or within a parameter: without them. */
export function safeUrl(url: string): string {
  return url.replaceAll(/(\/\/|%2f%2f)[^/?&]*(@|%40)/gi, "$1***$2");
}
