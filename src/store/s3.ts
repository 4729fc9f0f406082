import { IbackupError } from "../errors.ts";
import type { Store } from "./store.ts";

/** The store of an `s3:` URL. */
export function openS3Store(url: URL): Store {
  throw new IbackupError("USAGE", `Cannot open "s3://${url.host}"`, {
    why: "S3 is not built yet",
    fix: "use a file: URL",
  });
}
