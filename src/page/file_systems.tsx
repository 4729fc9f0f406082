/** What lies on the disks, as the daemon recognises it. Asked for when it is looked at. */
import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { TargetsDocument } from "../api/restore_schemas.ts";
import { failureOf, get } from "./api_client.ts";
import { type Fact, Facts, FailureBox } from "./facts.tsx";
import type { Failure } from "./state.ts";

export function FileSystems({ devices }: { devices: readonly string[] }): JSX.Element {
  const [targets, setTargets] = useState<TargetsDocument["targets"]>();
  const [failure, setFailure] = useState<Failure>();
  useEffect(() => {
    get<TargetsDocument>("/v1/targets").then(
      (document) => setTargets(document.targets),
      (error: unknown) => setFailure(failureOf(error)),
    );
  }, []);
  if (failure !== undefined) return <FailureBox failure={failure} />;
  const facts = devices.map((device): Fact => {
    const target = targets?.find(({ path }) => path === device);
    const places = target?.mountedAt.map((place) => `mounted at ${place}`) ?? [];
    const found = [...(target?.contents ?? []), ...places].join(", ");
    return [device, targets === undefined ? "…" : found || "nothing recognised"];
  });
  return <Facts of={facts} />;
}
